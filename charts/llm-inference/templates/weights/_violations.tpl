{{/* Contradictions in `weights`. */}}
{{- define "llm-inference.weights.violations" -}}
{{- if .Values.engine.enabled -}}
{{- $messages := list -}}
{{- $weights := .Values.weights -}}
{{- $derived := .Derived -}}
{{- $s3 := $weights.source.s3 -}}
{{- $usesS3 := and (eq $weights.source.type "s3") (ne $weights.delivery "image") -}}
{{- $usesHub := and (eq $weights.source.type "huggingface") (ne $weights.delivery "image") -}}
{{- /* Adapters and draft model have sources of their own. */ -}}
{{- $additionsS3 := include "llm-inference.weights.additions.from" (dict "root" . "scheme" "s3") -}}
{{- $additionsHub := include "llm-inference.weights.additions.from" (dict "root" . "scheme" "hf") -}}
{{- $readsS3 := or $usesS3 $weights.stage.enabled $additionsS3 -}}
{{- $populates := eq (include "llm-inference.weights.populate.enabled" .) "true" -}}
{{- /* Delivery against source. */ -}}
{{- if and (eq $weights.delivery "stream") (ne $weights.source.type "s3") -}}
{{-   $messages = append $messages "[LLM016] weights.source.type: the stream delivery reads from object storage only; write s3 and stage the weights there (weights.stage)" -}}
{{- end -}}
{{- if and $usesS3 (not $s3.uri) -}}
{{-   $messages = append $messages "[LLM017] weights.source.s3.uri: weights.source.type is s3; write s3://bucket/prefix" -}}
{{- end -}}
{{- if and $readsS3 (not $s3.region) -}}
{{-   $messages = append $messages "[LLM017] weights.source.s3.region: requests are signed for a region; write that of the bucket (any, for a store behind endpointUrl)" -}}
{{- end -}}
{{- /* What the image brings: the streamer, and boto3 for the download of weights. */ -}}
{{- $objectStorage := include "llm-inference.engine.can" (dict "root" . "ability" "objectStorage") -}}
{{- if not $objectStorage -}}
{{-   $lacking := include "llm-inference.engine.lacking" (dict "root" . "facts" (get .Catalog.engine.abilities "objectStorage")) -}}
{{-   if eq $weights.delivery "stream" -}}
{{-     $messages = append $messages (printf "[LLM604] weights.delivery: streaming from object storage: the image of %s; write initDownload or volume, or a newer engine.version" $lacking) -}}
{{-   else if and $readsS3 (not $weights.downloader.image.repository) -}}
{{-     $messages = append $messages (printf "[LLM604] weights.downloader.image.repository: boto3, which reads buckets: the image of %s; name an image that has it, or write a newer engine.version" $lacking) -}}
{{-   end -}}
{{- end -}}
{{- if $weights.stage.enabled -}}
{{-   if eq $weights.delivery "image" -}}
{{-     $messages = append $messages "[LLM019] weights.stage.enabled: weights that are baked into the image are not read from a bucket; write false" -}}
{{-   else if ne $weights.source.type "s3" -}}
{{-     $messages = append $messages "[LLM016] weights.stage.enabled: staging fills weights.source.s3.uri, which is not read while weights.source.type is huggingface; write s3" -}}
{{-   end -}}
{{- end -}}
{{- /* Access. */ -}}
{{- if and $readsS3 (eq .Values.aws.identity "none") (not $s3.existingSecret) (not $s3.endpointUrl) -}}
{{-   $messages = append $messages "[LLM613] aws.identity: nothing lets the pods read the bucket; write podIdentity or irsa" -}}
{{- end -}}
{{- if and $s3.existingSecret (not $s3.endpointUrl) (not (eq .Values.aws.identity "none")) -}}
{{-   $messages = append $messages "[LLM016] weights.source.s3.existingSecret: static keys win over aws.identity; remove one of the two" -}}
{{- end -}}
{{- if and $s3.existingSecret $s3.endpointUrl (not (eq .Values.aws.identity "none")) -}}
{{-   $messages = append $messages "[LLM016] aws.identity: the store behind weights.source.s3.endpointUrl is opened by weights.source.s3.existingSecret; write none" -}}
{{- end -}}
{{- $modelFromHub := or (and $usesHub (or (eq $weights.delivery "initDownload") $populates)) $weights.stage.enabled -}}
{{- $readsHub := or $modelFromHub $additionsHub -}}
{{- if and $modelFromHub (get .Catalog.model "gated") (not .Values.model.repository) (not .Values.engine.huggingFaceToken.existingSecret) -}}
{{-   $messages = append $messages (printf "[LLM603] engine.huggingFaceToken.existingSecret: `%s` is gated on Hugging Face; name a Secret with a token that has accepted its terms" .Values.model.id) -}}
{{- end -}}
{{- if and .Values.engine.huggingFaceToken.existingSecret (not $readsHub) -}}
{{-   $messages = append $messages "[LLM019] engine.huggingFaceToken.existingSecret: nothing is fetched from Hugging Face here; remove it" -}}
{{- end -}}
{{- /* Sizes. */ -}}
{{- if and (eq $weights.delivery "initDownload") (lt (int64 $derived.downloadGibibytes) (int64 $derived.weightsGibibytes)) -}}
{{-   $messages = append $messages (printf "[LLM602] weights.initDownload.sizeLimitGibibytes: %d is less than the weights and 10 %% need; write at least %d, or null" (int64 $derived.downloadGibibytes) (int64 $derived.weightsGibibytes)) -}}
{{- end -}}
{{- if and (eq $weights.delivery "volume") (not $weights.volume.existingClaim) (lt (int64 $derived.claimGibibytes) (int64 $derived.weightsGibibytes)) -}}
{{-   $messages = append $messages (printf "[LLM608] weights.volume.sizeGibibytes: %d is less than one revision needs; write at least %d (two revisions: %d), or null" (int64 $derived.claimGibibytes) (int64 $derived.weightsGibibytes) (mul 2 (int64 $derived.weightsGibibytes))) -}}
{{- end -}}
{{- /* Volume. */ -}}
{{- if and (eq $weights.delivery "volume") $weights.volume.existingClaim (or $weights.volume.storageClassName $weights.volume.sizeGibibytes) -}}
{{-   $messages = append $messages "[LLM019] weights.volume.existingClaim: storageClassName and sizeGibibytes belong to a claim that the chart makes; remove them, or the claim's name" -}}
{{- end -}}
{{- if and $weights.volume.populate.cleanUpOtherRevisions (not $populates) -}}
{{-   $messages = append $messages "[LLM019] weights.volume.populate.cleanUpOtherRevisions: only the populate Job cleans up; set weights.delivery: volume and weights.volume.populate.enabled, or write false" -}}
{{- end -}}
{{- /* Verification. */ -}}
{{- if $weights.manifestSha256 -}}
{{-   if not (and $usesS3 $weights.verifyManifest) -}}
{{-     $messages = append $messages "[LLM019] weights.manifestSha256: no manifest is read here (weights.source.type s3 with verifyManifest has one); remove it" -}}
{{-   end -}}
{{- end -}}
{{- if and $weights.bandwidthMegabytesPerSecond (eq $weights.delivery "image") -}}
{{-   $messages = append $messages "[LLM019] weights.bandwidthMegabytesPerSecond: weights that are baked into the image are not transferred; remove it" -}}
{{- end -}}
{{- /* Downloader. */ -}}
{{- $image := $weights.downloader.image -}}
{{- if and (or $image.tag $image.digest) (not $image.repository) -}}
{{-   $messages = append $messages "[LLM017] weights.downloader.image.repository: a tag or digest needs a repository; write it, or remove both" -}}
{{- end -}}
{{- if and $image.repository (not (or $image.tag $image.digest)) -}}
{{-   $messages = append $messages "[LLM007] weights.downloader.image.tag: an image without tag or digest moves; write one" -}}
{{- end -}}
{{- if has $image.tag (list "latest" "main" "master" "nightly" "dev") -}}
{{-   $messages = append $messages (printf "[LLM007] weights.downloader.image.tag: `%s` moves; write a version" $image.tag) -}}
{{- end -}}
{{- compact $messages | join "\n" -}}
{{- end -}}
{{- end -}}
