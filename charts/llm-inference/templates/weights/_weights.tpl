{{/*
Weights: where they are, who fetches them, and what the engine is told. One script (files/weights/weights.py) does all
the work; its exit codes and formats are described in docs/weights.md.
*/}}

{{/* Repository of the weights on Hugging Face. */}}
{{- define "llm-inference.weights.repository" -}}
{{- .Values.model.repository | default .Values.model.id -}}
{{- end -}}

{{/*
Directory of one revision below a volume's root. The model has its own directory, so that claims can be shared by
several models and a clean-up stays within one; the revision names the directory, so that the next one can be filled
while this one serves.
*/}}
{{- define "llm-inference.weights.directory" -}}
/weights/{{ include "llm-inference.weights.repository" . | replace "/" "--" }}/{{ .Values.model.revision }}
{{- end -}}

{{/*
Weights beside the model's own, LoRA adapters and the draft model, as a JSON list of {name, container, source, revision,
directory, gigabytes}. They are always downloaded to local disk: beside the model where that is downloaded too, else
to a directory of their own. An adapter of unknown size counts as half a gigabyte.
*/}}
{{- define "llm-inference.weights.additions" -}}
{{- $root := include "llm-inference.weights.additions.root" . -}}
{{- $additions := list -}}
{{- range $name, $adapter := .Values.engine.lora.adapters -}}
{{-   $additions = append $additions (dict
        "name" $name
        "container" (printf "download-adapter-%s" $name)
        "source" $adapter.source
        "revision" $adapter.revision
        "directory" (printf "%s/lora-%s/%s" $root $name $adapter.revision)
        "gigabytes" (get $adapter "gigabytes" | default 0.5 | float64)) -}}
{{- end -}}
{{- $draft := .Values.engine.speculative.draft -}}
{{- if and .Values.engine.speculative.method $draft.source -}}
{{-   $additions = append $additions (dict
        "name" "draft"
        "container" "download-draft-model"
        "source" $draft.source
        "revision" $draft.revision
        "directory" (printf "%s/draft/%s" $root $draft.revision)
        "gigabytes" ($draft.gigabytes | default 0.0 | float64)) -}}
{{- end -}}
{{- toJson $additions -}}
{{- end -}}

{{- define "llm-inference.weights.additions.root" -}}
{{- ternary "/weights" "/additional-weights" (eq .Values.weights.delivery "initDownload") -}}
{{- end -}}

{{/* "true" where something comes from that scheme (`s3` or `hf`) beside the model's own weights: dict root, scheme. */}}
{{- define "llm-inference.weights.additions.from" -}}
{{- $prefix := printf "%s://" .scheme -}}
{{- range include "llm-inference.weights.additions" .root | fromJsonArray -}}
{{-   if hasPrefix $prefix .source -}}true{{- end -}}
{{- end -}}
{{- end -}}

{{/* The model as the engine is told. */}}
{{- define "llm-inference.weights.path" -}}
{{- if eq .Values.weights.delivery "stream" -}}
{{ trimSuffix "/" .Values.weights.source.s3.uri }}
{{- else if eq .Values.weights.delivery "image" -}}
{{ .Values.weights.image.path }}
{{- else -}}
{{ include "llm-inference.weights.directory" . }}
{{- end -}}
{{- end -}}

{{/* Options of the engine that depend on the delivery, as a JSON list. */}}
{{- define "llm-inference.weights.arguments" -}}
{{- if eq .Values.weights.delivery "stream" -}}
{{-   $stream := .Values.weights.stream -}}
{{-   $distributed := kindIs "invalid" $stream.distributed | ternary (gt (int64 .Derived.gpusPerReplica) 1) $stream.distributed -}}
{{- /* The loader takes these three keys and no other, and numbers without quotes; its own memory limit is 40 GB. */ -}}
{{-   $extra := dict "distributed" $distributed "concurrency" (int64 $stream.concurrency) "memory_limit" (mul $stream.memoryLimitGibibytes 1073741824) -}}
{{-   list "--load-format" "runai_streamer" "--model-loader-extra-config" (toJson $extra) | toJson -}}
{{- else -}}
[]
{{- end -}}
{{- end -}}

{{/* `s3://bucket/prefix` or `hf://organisation/name`, as the script takes it. */}}
{{- define "llm-inference.weights.source" -}}
{{- if eq .Values.weights.source.type "s3" -}}
{{ trimSuffix "/" .Values.weights.source.s3.uri }}
{{- else -}}
hf://{{ include "llm-inference.weights.repository" . }}
{{- end -}}
{{- end -}}

{{/* Image of the weights containers: the engine's, unless named. */}}
{{- define "llm-inference.weights.image" -}}
{{- $image := .Values.weights.downloader.image -}}
{{- if $image.repository -}}
{{-   $prefix := trimSuffix "/" .Values.nodes.imagePrefix -}}
{{-   $repository := ternary (printf "%s/%s" $prefix $image.repository) $image.repository (not (empty $prefix)) -}}
{{-   if $image.digest -}}
{{ $repository }}@{{ $image.digest }}
{{-   else -}}
{{ $repository }}:{{ $image.tag }}
{{-   end -}}
{{- else -}}
{{ include "llm-inference.engine.image" . }}
{{- end -}}
{{- end -}}

{{/* Access to the bucket, as a YAML list of environment variables; the AWS SDKs read them. */}}
{{- define "llm-inference.weights.s3Environment" -}}
{{- $s3 := .Values.weights.source.s3 -}}
- name: AWS_REGION
  value: {{ $s3.region | quote }}
{{- with $s3.endpointUrl }}
- name: AWS_ENDPOINT_URL
  value: {{ . | quote }}
{{- end }}
{{- with $s3.existingSecret }}
- name: AWS_ACCESS_KEY_ID
  valueFrom:
    secretKeyRef:
      name: {{ . | quote }}
      key: AWS_ACCESS_KEY_ID
- name: AWS_SECRET_ACCESS_KEY
  valueFrom:
    secretKeyRef:
      name: {{ . | quote }}
      key: AWS_SECRET_ACCESS_KEY
{{- end }}
{{- end -}}

{{/* Access to the hub. */}}
{{- define "llm-inference.weights.hubEnvironment" -}}
{{- $hub := .Values.weights.source.huggingface -}}
- name: HF_HOME
  value: /tmp/huggingface
- name: HF_HUB_DISABLE_TELEMETRY
  value: "1"
{{- with $hub.endpoint }}
- name: HF_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- with .Values.engine.huggingFaceToken.existingSecret }}
- name: HF_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ . | quote }}
      key: {{ $.Values.engine.huggingFaceToken.key | quote }}
{{- end }}
{{- end -}}

{{/* Common words of the commands that read a source: revision, patterns, tries, concurrency. A JSON list: dict root, revision. */}}
{{- define "llm-inference.weights.transferArguments" -}}
{{- $weights := .root.Values.weights -}}
{{- $arguments := list "--revision" .revision
      "--retries" (toString (int64 $weights.retries))
      "--concurrency" (toString (int64 $weights.downloader.concurrency))
      "--timeout-seconds" (toString (int64 $weights.source.huggingface.timeoutSeconds)) -}}
{{- range $weights.include -}}{{- $arguments = concat $arguments (list "--include" .) -}}{{- end -}}
{{- $arguments | toJson -}}
{{- end -}}

{{/* How strictly a bucket's content is checked. A JSON list. */}}
{{- define "llm-inference.weights.manifestArguments" -}}
{{- if ne .Values.weights.source.type "s3" -}}
[]
{{- else if not .Values.weights.verifyManifest -}}
["--no-manifest"]
{{- else if .Values.weights.manifestSha256 -}}
{{ list "--manifest-sha256" .Values.weights.manifestSha256 | toJson }}
{{- else -}}
[]
{{- end -}}
{{- end -}}

{{/*
One container that runs the weights script: dict root, name, arguments (list), mounts (YAML list or empty),
environment (YAML list or empty).
*/}}
{{- define "llm-inference.weights.container" -}}
{{- $downloader := .root.Values.weights.downloader -}}
- name: {{ .name }}
  image: {{ include "llm-inference.weights.image" .root }}
  imagePullPolicy: {{ .root.Values.engine.image.pullPolicy }}
  command: [python3, -u, /opt/weights/weights.py]
  args:
    {{- range .arguments }}
    - {{ . | quote }}
    {{- end }}
  env:
    - name: HOME
      value: /tmp
    {{- with .environment }}
    {{- . | nindent 4 }}
    {{- end }}
  resources:
    requests:
      cpu: {{ $downloader.cpu | quote }}
      memory: {{ $downloader.memory }}
    limits:
      memory: {{ $downloader.memory }}
  securityContext:
    runAsUser: {{ int64 $downloader.runAsUser }}
    {{- include "llm-inference.containerSecurityContext" (dict "readOnlyRootFilesystem" true) | nindent 4 }}
  volumeMounts:
    - name: weights-script
      mountPath: /opt/weights
      readOnly: true
    - name: tmp
      mountPath: /tmp
    {{- with .mounts }}
    {{- . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* Environment for reading `weights.source`. */}}
{{- define "llm-inference.weights.sourceEnvironment" -}}
{{- if eq .Values.weights.source.type "s3" -}}
{{ include "llm-inference.weights.s3Environment" . }}
{{- else -}}
{{ include "llm-inference.weights.hubEnvironment" . }}
{{- end -}}
{{- end -}}

{{/* Init containers of the engine's pod. */}}
{{- define "llm-inference.weights.initContainers" -}}
{{- $weights := .Values.weights -}}
{{- $transfer := include "llm-inference.weights.transferArguments" (dict "root" . "revision" .Values.model.revision) | fromJsonArray -}}
{{- $manifest := include "llm-inference.weights.manifestArguments" . | fromJsonArray -}}
{{- $mount := "- name: weights\n  mountPath: /weights" -}}
{{- if eq $weights.delivery "initDownload" -}}
{{-   $arguments := concat (list "fetch" "--source" (include "llm-inference.weights.source" .) "--directory" (include "llm-inference.weights.directory" .)) $transfer $manifest -}}
{{ include "llm-inference.weights.container" (dict "root" . "name" "download-weights" "arguments" $arguments "mounts" $mount "environment" (include "llm-inference.weights.sourceEnvironment" .)) }}
{{- else if and (eq $weights.delivery "stream") $weights.verifyManifest -}}
{{-   $arguments := concat (list "check" "--source" (include "llm-inference.weights.source" .) "--revision" .Values.model.revision "--retries" (toString (int64 $weights.retries))) $manifest -}}
{{ include "llm-inference.weights.container" (dict "root" . "name" "check-weights" "arguments" $arguments "environment" (include "llm-inference.weights.s3Environment" .)) }}
{{- else if eq $weights.delivery "volume" -}}
{{- /* The Job fills the volume at the same time as the first pod starts: wait for it rather than crash. */ -}}
{{-   $wait := .Derived.progressDeadlineSeconds -}}
{{-   $arguments := list "check" "--directory" (include "llm-inference.weights.directory" .) "--revision" .Values.model.revision "--wait-seconds" (toString $wait) -}}
{{-   if $weights.manifestSha256 -}}{{- $arguments = concat $arguments (list "--manifest-sha256" $weights.manifestSha256) -}}{{- end -}}
{{ include "llm-inference.weights.container" (dict "root" . "name" "check-weights" "arguments" $arguments "mounts" (printf "%s\n  readOnly: true" $mount)) }}
{{- end -}}
{{- include "llm-inference.weights.additions.initContainers" . -}}
{{- end -}}

{{/* One init container for each adapter and for the draft model. */}}
{{- define "llm-inference.weights.additions.initContainers" -}}
{{- $root := include "llm-inference.weights.additions.root" . -}}
{{- $mount := printf "- name: %s\n  mountPath: %s" (trimPrefix "/" $root) $root -}}
{{- range $addition := .Derived.additionalWeights -}}
{{-   $arguments := list "fetch" "--source" $addition.source "--directory" $addition.directory -}}
{{-   $arguments = concat $arguments (include "llm-inference.weights.transferArguments" (dict "root" $ "revision" $addition.revision) | fromJsonArray) -}}
{{-   $fromBucket := hasPrefix "s3://" $addition.source -}}
{{-   if and $fromBucket (not $.Values.weights.verifyManifest) -}}{{- $arguments = append $arguments "--no-manifest" -}}{{- end -}}
{{-   $environment := include (ternary "llm-inference.weights.s3Environment" "llm-inference.weights.hubEnvironment" $fromBucket) $ -}}
{{ "\n" }}{{ include "llm-inference.weights.container" (dict "root" $ "name" $addition.container "arguments" $arguments "mounts" $mount "environment" $environment) }}
{{- end -}}
{{- end -}}

{{/* Mounts of the weights in the engine's container. */}}
{{- define "llm-inference.weights.engineMounts" -}}
{{- if has .Values.weights.delivery (list "initDownload" "volume") -}}
- name: weights
  mountPath: /weights
  readOnly: true
{{- end }}
{{- if and .Derived.additionalWeights (ne .Values.weights.delivery "initDownload") }}
- name: additional-weights
  mountPath: /additional-weights
  readOnly: true
{{- end }}
{{- end -}}

{{/* Volumes of the engine's pod. */}}
{{- define "llm-inference.weights.volumes" -}}
{{- if eq .Values.weights.delivery "initDownload" -}}
- name: weights
  emptyDir:
    sizeLimit: {{ .Derived.downloadGibibytes }}Gi
{{- else if eq .Values.weights.delivery "volume" -}}
- name: weights
  persistentVolumeClaim:
    claimName: {{ include "llm-inference.weights.claim" . | quote }}
{{- end }}
{{- if and .Derived.additionalWeights (ne .Values.weights.delivery "initDownload") }}
- name: additional-weights
  emptyDir:
    sizeLimit: {{ .Derived.additionsGibibytes }}Gi
{{- end }}
{{- if include "llm-inference.weights.initContainers" . }}
{{ include "llm-inference.weights.scriptVolume" . }}
{{- end }}
{{- end -}}

{{- define "llm-inference.weights.scriptVolume" -}}
- name: weights-script
  configMap:
    name: {{ include "llm-inference.weights.script" . }}
{{- end -}}

{{/* "true" where the Job that fills the volume runs. */}}
{{- define "llm-inference.weights.populate.enabled" -}}
{{- if and .Values.engine.enabled (eq .Values.weights.delivery "volume") .Values.weights.volume.populate.enabled -}}true{{- end -}}
{{- end -}}

{{/* "true" where the Job that stages weights into the bucket runs. */}}
{{- define "llm-inference.weights.stage.enabled" -}}
{{- if and .Values.engine.enabled .Values.weights.stage.enabled -}}true{{- end -}}
{{- end -}}

{{/*
Specification of a weights Job: dict root, container (YAML list of one), volumes (YAML list). Jobs run on ordinary
nodes: they carry no toleration for GPU nodes.
*/}}
{{- define "llm-inference.weights.jobSpec" -}}
{{- $root := .root -}}
backoffLimit: 6
# Exit codes that another try cannot cure: wrong usage, no access, nothing there, a manifest that does not hold.
podFailurePolicy:
  rules:
    - action: FailJob
      onExitCodes:
        operator: In
        values: [2, 10, 11, 15]
    - action: Ignore
      onPodConditions:
        - type: DisruptionTarget
template:
  metadata:
    labels:
      {{- include "llm-inference.selectorLabels" (dict "root" $root "component" "weights") | nindent 6 }}
    annotations:
      # Hours of transfer are lost if Karpenter moves the pod; it resumes, but later.
      karpenter.sh/do-not-disrupt: "true"
  spec:
    restartPolicy: Never
    serviceAccountName: {{ include "llm-inference.serviceAccount.name" $root | quote }}
    automountServiceAccountToken: false
    enableServiceLinks: false
    {{- with $root.Values.engine.imagePullSecrets }}
    imagePullSecrets:
      {{- range . }}
      - name: {{ . | quote }}
      {{- end }}
    {{- end }}
    securityContext:
      {{- include "llm-inference.podSecurityContext" (dict "uid" (int64 $root.Values.weights.downloader.runAsUser)) | nindent 6 }}
    containers:
      {{- .container | nindent 6 }}
    volumes:
      {{- include "llm-inference.weights.scriptVolume" $root | nindent 6 }}
      {{- .volumes | nindent 6 }}
{{- end -}}
