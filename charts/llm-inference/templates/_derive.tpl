{{/*
Everything this chart computes, computed once per render. Every template begins with

  {{- include "llm-inference.derive" . -}}   prints nothing; afterwards `.Derived` of the root context holds the numbers

and only then reads values: the first call also checks them, so that what follows meets no contradiction.
Numbers are integers unless said otherwise; 0 means "cannot be known" (no instance type or no model shape given).
chartproof's plan computes the same from the rendered manifests; a test holds the two together.

  gpusPerReplica           tensor x pipeline parallel size
  nodesPerReplica          pods of a replica, each on a node of its own: 1, or those of a group; gpusPerNode: GPUs of each
  engineVersion            as text; metrics: names by role (catalog); modelName: first served name, the metrics' label
  servedModelNames         all of them
  modelGigabytes           of the checkpoint at `model.precision` (decimal, float)
  additionalWeights        adapters and draft model: list of {name, container, source, revision, directory, gigabytes}
  weightsGigabytes         of all of them (float)
  imageGigabytes           of the engine's image, compressed (float)
  delivery                 key of the catalog's `deliveries`; nodeFamily: bottlerocket, al2023 or "" (plain image pull)
  candidateTypes           instance types with enough GPUs, in the order of the values
  smallestInstance         the one with the least room for the KV cache ("" where none is named)
  slowestInstance          the one with the least network
  kvCapacityTokens         tokens the KV cache of a replica holds on the smallest one; kvBytesPerToken
  kvGigabytes              the room that is (float, negative where not even the weights fit)
  memFractionStatic        share of GPU memory for weights and KV cache, which SGLang is told (float)
  maxModelLen              effective longest context; contextTokens: the model's own
  maxNumSeqs               effective; 256 where unset
  concurrency              typical requests one replica holds: batch, KV cache and `autoscaling.stepMilliseconds` bound it
  leastStepMilliseconds    decode step of one sequence by the profile, 0 unknown
  targetPerReplica         `autoscaling.targetPerReplica`, else 80 % of `concurrency`
  promptTokensPerSecond    of one replica; answerTokensPerSecond of a full one: the value, else by the profile, 0 unknown
  transferSeconds          weights from their source to the host (download, or stream)
  loadSeconds              what the engine container itself spends on reading weights
  engineStartSeconds       imports, profiling, compilation
  startupBudgetSeconds     of the startup probe
  coldStartPhases          list of {name, seconds (float), inContainer}; coldStartSeconds: their sum, on a fresh node
  cooldownSeconds, initialCooldownSeconds, scaleDownWindowSeconds   effective: the value, else derived
  gracePeriodSeconds       preStop + drain + teardown; preStopSeconds; shutdownTimeoutSeconds (0: engine has no such option)
  progressDeadlineSeconds  of the Deployment
  hostMemoryMebibytes      least memory of the pod; memoryMebibytes: effective; millicpu
  sharedMemoryGibibytes    of /dev/shm
  weightsGibibytes         room for the weights on a disk (plus 10 %); additionsGibibytes: of adapters and draft model alone
  ephemeralGibibytes       effective request of local disk
  claimGibibytes           size of the claim the chart makes
  maxReplicas, surgeReplicas   most replicas, and what a rolling update adds
*/}}
{{- define "llm-inference.derive" -}}
{{- if not (hasKey . "Derived") -}}
{{-   include "llm-inference.derive.numbers" . -}}
{{-   include "llm-inference.disaggregation.roles" . -}}
{{-   include "llm-inference.validate" . -}}
{{- end -}}
{{- end -}}

{{/* The numbers of one context: of the release, or of one role of it. */}}
{{- define "llm-inference.derive.numbers" -}}
{{-   include "llm-inference.catalog" . -}}
{{-   $_ := set . "Derived" dict -}}
{{-   include "llm-inference.multiNode.sizes" . -}}
{{-   include "llm-inference.derive.model" . -}}
{{-   include "llm-inference.derive.fit" . -}}
{{-   include "llm-inference.derive.target" . -}}
{{-   include "llm-inference.derive.tokens" . -}}
{{-   include "llm-inference.derive.start" . -}}
{{-   include "llm-inference.derive.lifecycle" . -}}
{{-   include "llm-inference.derive.resources" . -}}
{{- end -}}

{{/* The first of a value and what is derived: the value where it is given, also as 0, which `default` would take for absent. */}}
{{- define "llm-inference.derive.given" -}}
{{- kindIs "invalid" (first .) | ternary (last .) (first .) | int64 -}}
{{- end -}}

{{- define "llm-inference.derive.model" -}}
{{- $engine := .Values.engine -}}
{{- $served := $engine.servedModelName | default (list .Values.model.id) -}}
{{- $delivery := .Values.weights.delivery -}}
{{- if and (eq $delivery "initDownload") (eq .Values.weights.source.type "huggingface") -}}
{{-   $delivery = "huggingface" -}}
{{- end -}}
{{- $model := get (get .Catalog.model "weightsGB" | default dict) .Values.model.precision | default 0.0 | float64 -}}
{{- $additions := include "llm-inference.weights.additions" . | fromJsonArray -}}
{{- $weights := $model -}}
{{- range $additions -}}{{- $weights = addf $weights .gigabytes -}}{{- end -}}
{{- $_ := merge .Derived (dict
      "gpusPerReplica" (mul $engine.tensorParallelSize $engine.pipelineParallelSize)
      "nodesPerReplica" (include "llm-inference.multiNode.nodes" . | int64)
      "gpusPerNode" (div (mul $engine.tensorParallelSize $engine.pipelineParallelSize) (include "llm-inference.multiNode.nodes" . | int64) | max 1)
      "engineVersion" .Catalog.engineVersion
      "imageGigabytes" ($engine.image.compressedGigabytes | default .Catalog.engine.imageGigabytes | float64)
      "metrics" (get .Catalog.engine "metrics" | default dict)
      "servedModelNames" $served
      "modelName" (first $served)
      "modelGigabytes" $model
      "additionalWeights" $additions
      "weightsGigabytes" $weights
      "delivery" $delivery
      "nodeFamily" (include "llm-inference.nodes.family" .)
      "contextTokens" (get .Catalog.model "context" | default 0 | int64)
      "maxModelLen" ($engine.maxModelLen | default (get .Catalog.model "context") | default 0 | int64)
      "maxNumSeqs" ($engine.maxNumSeqs | default 256 | int64)) -}}
{{- end -}}

{{/*
KV cache: budget = utilisation x usable memory x GPUs; what weights and overhead leave of it. Where stages of a pipeline
have unequal numbers of layers, the fullest one bounds all: the GPUs count that much less. vLLM is told the
utilisation and measures its overhead. SGLang is told the share of weights and KV cache alone, so that the overhead is
taken off here, on the GPU with the least memory.
*/}}
{{- define "llm-inference.derive.fit" -}}
{{- $root := . -}}
{{- $model := .Catalog.model -}}
{{- $gpus := .Derived.gpusPerReplica -}}
{{- $tensor := int64 .Values.engine.tensorParallelSize -}}
{{- $elementBytes := ternary 1 2 (hasPrefix "fp8" .Values.engine.kvCacheDtype) -}}
{{- $bytesPerToken := 0 -}}
{{- $layers := get $model "layers" | default 0 | int64 -}}
{{- $latent := get $model "mla" | default dict -}}
{{- if $latent -}}
{{-   $bytesPerToken = mul $layers (add (get $latent "kvLoraRank") (get $latent "qkRopeHeadDim")) $elementBytes $tensor -}}
{{- else if and $layers (get $model "kvHeads") (get $model "headDim") -}}
{{-   $kvHeads := get $model "kvHeads" | int64 -}}
{{-   $heads := max $kvHeads (mul (max 1 (div $kvHeads (max 1 $tensor))) $tensor) -}}
{{-   $bytesPerToken = mul $layers $heads (get $model "headDim" | int64) 2 $elementBytes -}}
{{- end -}}
{{- $stages := int64 .Values.engine.pipelineParallelSize -}}
{{- $used := float64 $gpus -}}
{{- if and $layers (gt $stages 1) -}}
{{-   $used = divf (mulf $gpus $layers) (mulf $stages (divf $layers $stages | ceil)) -}}
{{- end -}}
{{- $candidates := list -}}
{{- $smallest := "" -}}
{{- $slowest := "" -}}
{{- $leastRoom := 0.0 -}}
{{- $leastNetwork := 0 -}}
{{- $overhead := mulf .Catalog.engine.gpuOverheadGigabytes $used -}}
{{- $share := .Values.engine.gpuMemoryUtilization | float64 -}}
{{- $static := 0.0 -}}
{{- if eq .Values.engine.type "sglang" -}}
{{-   $static = include "llm-inference.derive.memFractionStatic" . | float64 -}}
{{-   $share = $static -}}
{{-   $overhead = 0.0 -}}
{{- end -}}
{{- range $type := .Catalog.instanceTypes -}}
{{-   $instance := get $root.Catalog.instances $type -}}
{{-   $gpu := get $root.Catalog.gpus $instance.gpu | default dict -}}
{{-   if and $gpu (ge (int64 $instance.gpuCount) (int64 $root.Derived.gpusPerNode)) -}}
{{-     $candidates = append $candidates $type -}}
{{-     $budget := mulf $share (include "llm-inference.derive.gpuMebibytes" (dict "root" $root "instance" $instance) | float64) 0.001048576 $gpu.usableShare $used -}}
{{-     $room := subf $budget $root.Derived.weightsGigabytes $overhead -}}
{{-     if or (not $smallest) (lt $room $leastRoom) -}}
{{-       $smallest = $type -}}
{{-       $leastRoom = $room -}}
{{-     end -}}
{{-     if or (not $slowest) (lt (int64 $instance.networkMbps) $leastNetwork) -}}
{{-       $slowest = $type -}}
{{-       $leastNetwork = int64 $instance.networkMbps -}}
{{-     end -}}
{{-   end -}}
{{- end -}}
{{- $tokens := 0 -}}
{{- if and $smallest $bytesPerToken (gt $leastRoom 0.0) -}}
{{-   $tokens = divf (mulf $leastRoom 1000000000) $bytesPerToken | floor | int64 -}}
{{- end -}}
{{- $_ := merge .Derived (dict
      "candidateTypes" $candidates
      "smallestInstance" $smallest
      "slowestInstance" $slowest
      "networkMegabytesPerSecond" (divf $leastNetwork 8)
      "memFractionStatic" $static
      "kvGigabytes" $leastRoom
      "kvBytesPerToken" $bytesPerToken
      "kvCapacityTokens" $tokens) -}}
{{- end -}}

{{/* Memory in MiB that a replica sees of each of its GPUs, all of it or a slice's: dict root, instance. */}}
{{- define "llm-inference.derive.gpuMebibytes" -}}
{{- $profile := .root.Values.engine.migProfile -}}
{{- if $profile -}}
{{- /* At least 95 % of the GiB in the profile's name (NVIDIA MIG user guide). */ -}}
{{-   mulf (regexFind "[0-9]+gb$" $profile | trimSuffix "gb" | float64) 0.95 1024 -}}
{{- else -}}
{{-   .instance.gpuMemoryMebibytes -}}
{{- end -}}
{{- end -}}

{{/*
`engine.gpuMemoryUtilization` less the overhead on the smallest GPU, rounded down to thousandths. Without instance types
it is a tenth less: 4 GB of 40.
*/}}
{{- define "llm-inference.derive.memFractionStatic" -}}
{{- $least := 0.0 -}}
{{- range $type := .Catalog.instanceTypes -}}
{{-   $instance := get $.Catalog.instances $type -}}
{{-   $gpu := get $.Catalog.gpus $instance.gpu | default dict -}}
{{-   if and $gpu (ge (int64 $instance.gpuCount) (int64 $.Derived.gpusPerNode)) -}}
{{-     $usable := mulf (include "llm-inference.derive.gpuMebibytes" (dict "root" $ "instance" $instance) | float64) 0.001048576 $gpu.usableShare -}}
{{-     if or (not $least) (lt $usable $least) -}}{{- $least = $usable -}}{{- end -}}
{{-   end -}}
{{- end -}}
{{- $part := 0.1 -}}
{{- if $least -}}{{- $part = divf .Catalog.engine.gpuOverheadGigabytes $least -}}{{- end -}}
{{- divf (floor (mulf (subf .Values.engine.gpuMemoryUtilization $part) 1000)) 1000 -}}
{{- end -}}

{{/* What one replica should hold. */}}
{{- define "llm-inference.derive.target" -}}
{{- $derived := .Derived -}}
{{- $concurrency := 0 -}}
{{- $leastStep := 0 -}}
{{- if $derived.kvCapacityTokens -}}
{{-   $concurrency = min $derived.maxNumSeqs (div $derived.kvCapacityTokens (max 1 (int64 .Values.autoscaling.requestTokens))) -}}
{{-   $line := dict -}}
{{-   if and .Values.autoscaling.enabled (not .Values.autoscaling.targetPerReplica) -}}
{{-     $line = include "llm-inference.derive.profile" . | fromJson -}}
{{-   end -}}
{{-   if $line -}}
{{-     $leastStep = addf $line.alpha $line.beta | ceil | int64 -}}
{{-     $batch := divf (subf .Values.autoscaling.stepMilliseconds $line.alpha) $line.beta | floor | int64 -}}
{{-     $concurrency = min $concurrency (max 0 $batch) -}}
{{-   end -}}
{{- end -}}
{{- $target := ternary (max 1 (mulf $concurrency 0.8 | floor | int64)) 0 (gt (int64 $derived.kvCapacityTokens) 0) -}}
{{- $_ := merge $derived (dict
      "concurrency" $concurrency
      "leastStepMilliseconds" $leastStep
      "targetPerReplica" (.Values.autoscaling.targetPerReplica | default $target | int64)) -}}
{{- end -}}

{{/* What a replica computes: prompts by themselves, and the answers of as many requests as keep to `stepMilliseconds`. */}}
{{- define "llm-inference.derive.tokens" -}}
{{- $derived := .Derived -}}
{{- $tokens := .Values.autoscaling.signals.tokens -}}
{{- $speed := dict -}}
{{- $reads := or $tokens.enabled .Values.autoscaling.signals.queuedPrompts.enabled -}}
{{- if and .Values.autoscaling.enabled $reads -}}
{{-   $speed = include "llm-inference.derive.speed" . | fromJson -}}
{{- end -}}
{{- $_ := merge $derived (dict
      "promptTokensPerSecond" ($tokens.promptTokensPerSecond | default (get $speed "prompt") | default 0 | int64)
      "answerTokensPerSecond" ($tokens.answerTokensPerSecond | default (get $speed "answer") | default 0 | int64)) -}}
{{- end -}}

{{/* Tokens per second of a replica by the profile as JSON: {prompt, answer}, `{}` where unknown. */}}
{{- define "llm-inference.derive.speed" -}}
{{- $line := dict -}}
{{- if .Derived.kvCapacityTokens -}}{{- $line = include "llm-inference.derive.profile" . | fromJson -}}{{- end -}}
{{- if $line -}}
{{-   $batch := min .Derived.maxNumSeqs (div .Derived.kvCapacityTokens (max 1 (int64 .Values.autoscaling.requestTokens))) -}}
{{-   $batch = min $batch (divf (subf .Values.autoscaling.stepMilliseconds $line.alpha) $line.beta | floor | int64) | max 1 -}}
{{-   dict
        "prompt" (floor $line.prefill | int64)
        "answer" (divf (mulf $batch 1000) (addf $line.alpha (mulf $line.beta $batch)) | floor | int64) | toJson -}}
{{- else -}}
{}
{{- end -}}
{{- end -}}

{{/*
Speed of this model on the smallest instance's GPU as JSON: a decode step's {alpha, beta} in milliseconds and `prefill`,
prompt tokens per second; `{}` where unknown. The catalog's profile of this combination, else the nearest profile scaled: a step reads the weights of one GPU's
share once, so all times grow with weights / tensor parallel size / memory bandwidth. Mixture-of-experts models have no such rule, and nothing is known of slices (MIG).
*/}}
{{- define "llm-inference.derive.profile" -}}
{{- if .Values.engine.migProfile -}}
{}
{{- else -}}
{{- $root := . -}}
{{- $precision := .Values.model.precision -}}
{{- $tensor := int64 .Values.engine.tensorParallelSize -}}
{{- $instance := get .Catalog.instances .Derived.smallestInstance -}}
{{- $gpu := get .Catalog.gpus $instance.gpu -}}
{{- $memory := int64 $instance.gpuMemoryMebibytes -}}
{{- $ours := divf .Derived.modelGigabytes $tensor -}}
{{- $exact := dict -}}
{{- $nearest := dict -}}
{{- $distance := 0.0 -}}
{{- /* One line each in the file, as the instance types are. */ -}}
{{- $lines := regexFindAll (printf "(?m)^  - \\{.*precision: %s,.*$" (regexQuoteMeta $precision)) (.Files.Get "files/catalog/profiles.yaml") -1 -}}
{{- range $profile := (get (fromYaml (printf "profiles:\n%s" (join "\n" $lines))) "profiles") -}}
{{-   $sameGpu := eq $profile.gpu $instance.gpu -}}
{{-   $sameModel := eq $profile.model $root.Values.model.id -}}
{{-   $sameMemory := eq (int64 (get $profile "gpuMemoryMebibytes" | default $memory)) $memory -}}
{{-   if and (not $exact) $sameGpu $sameModel $sameMemory (eq (int64 $profile.tensorParallelSize) $tensor) -}}
{{-     $exact = $profile -}}
{{-   end -}}
{{-   $reference := get (get (get $root.Catalog.models $profile.model | default dict) "weightsGB" | default dict) $precision -}}
{{-   if $reference -}}
{{-     $gap := subf (divf $reference $profile.tensorParallelSize) $ours -}}
{{-     $rank := addf (ternary 0 1000000 $sameGpu) (ternary 0 100000 $sameModel) (maxf $gap (mulf $gap -1)) -}}
{{-     if or (not $nearest) (lt $rank $distance) -}}
{{-     $nearest = $profile -}}
{{-     $distance = $rank -}}
{{-     end -}}
{{-   end -}}
{{- end -}}
{{- if $exact -}}
{{-   dict "alpha" $exact.alphaMilliseconds "beta" $exact.betaMilliseconds "prefill" $exact.prefillTokensPerSecond | toJson -}}
{{- else if and $nearest (not (get .Catalog.model "moe")) .Derived.modelGigabytes -}}
{{-   $theirGpu := get .Catalog.gpus $nearest.gpu -}}
{{-   $theirs := $theirGpu.memoryBandwidthGigabytesPerSecond -}}
{{-   if and (eq $nearest.gpu "a100") (hasKey $nearest "gpuMemoryMebibytes") -}}
{{-     $theirs = 2039 -}}{{/* the 80 GB A100 of the profiles (NVIDIA data sheet); the catalog's is the 40 GB one */}}
{{-   end -}}
{{-   $theirShare := divf (get (get (get .Catalog.models $nearest.model) "weightsGB") $precision) $nearest.tensorParallelSize -}}
{{-   $factor := mulf (divf $ours $theirShare) (divf $theirs $gpu.memoryBandwidthGigabytesPerSecond) -}}
{{-   dict
        "alpha" (mulf $nearest.alphaMilliseconds $factor)
        "beta" (mulf $nearest.betaMilliseconds $factor)
        "prefill" (divf $nearest.prefillTokensPerSecond $factor) | toJson -}}
{{- else -}}
{}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Load, startup and cold start. */}}
{{- define "llm-inference.derive.start" -}}
{{- $derived := .Derived -}}
{{- $engine := .Values.engine -}}
{{- $facts := .Catalog.facts -}}
{{- $delivery := get $facts.deliveries $derived.delivery | default dict -}}
{{- $weightsMegabytes := mulf $derived.weightsGigabytes 1000 -}}
{{- $fromDisk := divf $weightsMegabytes $facts.nvmeMegabytesPerSecond -}}
{{- $transfer := 0.0 -}}
{{- if not (get $delivery "local") -}}
{{-   $speed := .Values.weights.bandwidthMegabytesPerSecond | default (get $delivery "megabytesPerSecond") | default 100 | float64 -}}
{{-   if and $derived.slowestInstance (not .Values.weights.bandwidthMegabytesPerSecond) -}}
{{-     $speed = minf $speed $derived.networkMegabytesPerSecond -}}
{{-   end -}}
{{-   $transfer = divf $weightsMegabytes $speed -}}
{{- end -}}
{{- $load := ternary $fromDisk $transfer (or (get $delivery "thenDisk" | default false) (get $delivery "local" | default false)) -}}

{{- $seconds := get .Catalog.engine "startSeconds" | default dict -}}
{{- $process := get $seconds "process" | default 0 | float64 -}}
{{- $initialise := get $seconds "initialise" | default 0 | float64 -}}
{{- if $engine.enforceEager -}}
{{-   $initialise = get $seconds "initialiseEager" | default 0 | float64 -}}
{{- else if $engine.compileCache.enabled -}}
{{-   $initialise = get $seconds "initialiseCached" | default 0 | float64 -}}
{{- end -}}
{{- if $engine.startup.engineStartSeconds -}}
{{-   $process = minf $process $engine.startup.engineStartSeconds -}}
{{-   $initialise = subf $engine.startup.engineStartSeconds $process -}}
{{- end -}}
{{- $engineStart := addf $process $initialise -}}

{{- $pull := $facts.imagePull -}}
{{- $pullSpeed := $pull.plainMegabytesPerSecond -}}
{{- $registration := $facts.node.registerGpuSeconds.al2023 -}}
{{- if eq $derived.nodeFamily "bottlerocket" -}}
{{-   $pullSpeed = $pull.bottlerocketSociMegabytesPerSecond -}}
{{-   $registration = $facts.node.registerGpuSeconds.bottlerocket -}}
{{- else if eq $derived.nodeFamily "al2023" -}}
{{-   $pullSpeed = $pull.al2023SociMegabytesPerSecond -}}
{{- end -}}
{{- $pulled := mulf (addf $derived.imageGigabytes (ternary $derived.weightsGigabytes 0.0 (get $delivery "withImage" | default false))) 1000 -}}
{{- $phases := list
      (dict "name" "reaction" "seconds" 15.0 "inContainer" false)
      (dict "name" "node claim" "seconds" (float64 $facts.node.nodeClaimSeconds) "inContainer" false)
      (dict "name" "boot" "seconds" (float64 $facts.node.bootSeconds) "inContainer" false)
      (dict "name" "GPU registration" "seconds" (float64 $registration) "inContainer" false)
      (dict "name" "image pull" "seconds" (divf $pulled $pullSpeed) "inContainer" false)
      (dict "name" "container start" "seconds" (float64 $facts.node.containerStartSeconds) "inContainer" false) -}}
{{- if get $delivery "thenDisk" -}}
{{-   $phases = append $phases (dict "name" "weights download" "seconds" $transfer "inContainer" false) -}}
{{- end -}}
{{- $phases = concat $phases (list
      (dict "name" "process start" "seconds" $process "inContainer" true)
      (dict "name" "weights load" "seconds" $load "inContainer" true)
      (dict "name" "engine initialisation" "seconds" $initialise "inContainer" true)) -}}
{{- $total := 0.0 -}}
{{- range $phases -}}{{- $total = addf $total .seconds -}}{{- end -}}
{{- $coldStart := ceil $total | int64 -}}
{{- $factor := $engine.startup.safetyFactor -}}
{{- $budget := max (int64 $engine.startup.minimumSeconds) (mulf (addf $load $engineStart) $factor | ceil | int64) -}}
{{- $beforeContainer := subf $total (addf $load $engineStart) | ceil | int64 -}}
{{- $_ := merge $derived (dict
      "transferSeconds" (ceil $transfer | int64)
      "loadSeconds" (ceil $load | int64)
      "engineStartSeconds" (ceil $engineStart | int64)
      "startupBudgetSeconds" $budget
      "coldStartPhases" $phases
      "coldStartSeconds" $coldStart
      "cooldownSeconds" (include "llm-inference.derive.given" (list .Values.autoscaling.cooldownSeconds (max 300 (mul 2 $coldStart))) | int64)
      "scaleDownWindowSeconds" (include "llm-inference.derive.given" (list .Values.autoscaling.behavior.scaleDown.stabilizationWindowSeconds (max 300 $coldStart)) | int64)
      "progressDeadlineSeconds" (add 60 (max (mulf $total $factor | ceil | int64) (add $beforeContainer $budget)))) -}}
{{- $_ := set $derived "initialCooldownSeconds" (include "llm-inference.derive.given" (list .Values.autoscaling.initialCooldownSeconds $derived.cooldownSeconds) | int64) -}}
{{- end -}}

{{/* Shutdown and rollout. */}}
{{- define "llm-inference.derive.lifecycle" -}}
{{- $engine := .Values.engine -}}
{{- $hasDrain := eq (include "llm-inference.engine.can" (dict "root" . "ability" "shutdownTimeout")) "true" -}}
{{- $_ := merge .Derived (dict
      "preStopSeconds" (int64 $engine.preStopSeconds)
      "shutdownTimeoutSeconds" (ternary (int64 $engine.drainSeconds) 0 $hasDrain)
      "gracePeriodSeconds" (add $engine.preStopSeconds $engine.drainSeconds .Catalog.engine.teardownSeconds)
      "maxReplicas" (ternary .Values.autoscaling.maxReplicas $engine.replicas .Values.autoscaling.enabled | int64)
      "surgeReplicas" (ternary 0 (int64 $engine.rollout.surgeReplicas) $engine.rollout.acceptDowntime)) -}}
{{- end -}}

{{/* Memory and disk. */}}
{{- define "llm-inference.derive.resources" -}}
{{- $derived := .Derived -}}
{{- $engine := .Values.engine -}}
{{- $parallel := gt (int64 $derived.gpusPerReplica) 1 -}}
{{- /* vLLM's own example for groups has 15 GiB. */ -}}
{{- $shared := $engine.sharedMemoryGibibytes | default (ternary 16 (ternary 8 2 $parallel) (gt (int64 $derived.nodesPerReplica) 1)) | int64 -}}
{{- $host := .Catalog.engine.hostMemoryGibibytes -}}
{{- $memory := add $host.base (mul $host.perFurtherGpu (sub $derived.gpusPerNode 1)) $shared -}}
{{- if $engine.kvOffloadGibibytes -}}
{{-   $memory = add $memory $engine.kvOffloadGibibytes (get .Catalog.engine "kvOffloadReserveGibibytes" | default 0) -}}
{{- end -}}
{{- if eq .Values.weights.delivery "stream" -}}
{{-   $memory = add $memory .Values.weights.stream.memoryLimitGibibytes -}}
{{- end -}}
{{- $hostMemory := mul $memory 1024 -}}
{{- /* Adapters and draft model are downloaded: beside the model where that is too, else to a directory of their own. */ -}}
{{- $downloads := eq .Values.weights.delivery "initDownload" -}}
{{- $weights := mulf (ternary $derived.weightsGigabytes $derived.modelGigabytes $downloads) 1.1 0.931322575 | ceil | int64 -}}{{/* 1e9 / 2^30 */}}
{{- $additions := mulf (subf $derived.weightsGigabytes $derived.modelGigabytes) 1.1 0.931322575 | ceil | int64 -}}
{{- $directory := .Values.weights.initDownload.sizeLimitGibibytes | default $weights | int64 -}}
{{- $caches := 6 -}}{{/* GiB: compiled kernels, tokenizer and configuration files, temporary files */}}
{{- $ephemeral := add $caches (ternary $directory $additions $downloads) -}}
{{- $_ := merge $derived (dict
      "sharedMemoryGibibytes" $shared
      "hostMemoryMebibytes" $hostMemory
      "memoryMebibytes" (ternary (include "llm-inference.quantity.mebibytes" $engine.resources.memory | int64) $hostMemory (not (empty $engine.resources.memory)))
      "millicpu" (include "llm-inference.quantity.millicpu" $engine.resources.cpu | int64)
      "weightsGibibytes" $weights
      "downloadGibibytes" $directory
      "additionsGibibytes" $additions
      "ephemeralGibibytes" (ternary (div (include "llm-inference.quantity.mebibytes" $engine.resources.ephemeralStorage | int64) 1024) $ephemeral (not (empty $engine.resources.ephemeralStorage)))
      "leastEphemeralGibibytes" $ephemeral
      "claimGibibytes" (.Values.weights.volume.sizeGibibytes | default (mul 2 $weights) | int64)) -}}
{{- end -}}
