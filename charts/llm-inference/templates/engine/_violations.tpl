{{/* Contradictions in `engine`, and in labels and annotations that users add to generated ones. */}}
{{- define "llm-inference.engine.violations" -}}
{{- if .Values.engine.enabled -}}
{{- $messages := list -}}
{{- $engine := .Values.engine -}}
{{- $derived := .Derived -}}
{{- $facts := .Catalog.engine -}}
{{- /* Version. */ -}}
{{- $version := $derived.engineVersion -}}
{{- if semverCompare (printf "<%s" $facts.oldest) $version -}}
{{-   $messages = append $messages (printf "[LLM144] engine.version: %s is older than this chart supports of %s; write %s to %s" $version $facts.title $facts.oldest $facts.newest) -}}
{{- else if semverCompare (printf ">%s" $facts.newest) $version -}}
{{-   $messages = append $messages (printf "[LLM144] engine.version: %s is newer than this chart knows the options and metrics of %s of; write %s to %s, or take a newer chart" $version $facts.title $facts.oldest $facts.newest) -}}
{{- end -}}
{{- if has ($engine.image.tag | default "") (list "latest" "main" "master" "nightly" "dev") -}}
{{-   $messages = append $messages (printf "[LLM007] engine.image.tag: `%s` moves, so replicas would differ; write a version, or null for v%s" $engine.image.tag $version) -}}
{{- end -}}
{{- range $name, $other := .Catalog.engines -}}
{{-   if and (ne $name $engine.type) (eq ($engine.image.repository | default "") $other.image) -}}
{{-     $messages = append $messages (printf "[LLM016] engine.image.repository: %s is the image of %s, and engine.type is %s; write null, or engine.type %s" $other.image $other.title $engine.type $name) -}}
{{-   end -}}
{{- end -}}
{{- $messages = concat $messages (include "llm-inference.engine.violations.features" . | fromJsonArray) -}}
{{- if and (eq $engine.type "vllm") (gt (int64 $engine.maxNumQueuedRequests) 0) (not $engine.maxNumSeqs) -}}
{{-   $messages = append $messages "[LLM017] engine.maxNumSeqs: vLLM's bound of queued requests counts running requests too, and the batch's default depends on the GPU; write the size of the batch" -}}
{{- end -}}
{{- /* Arguments and environment. */ -}}
{{- $messages = concat $messages (include "llm-inference.engine.violations.arguments" . | fromJsonArray) -}}
{{- $generated := include "llm-inference.engine.generatedVariables" . | fromJsonArray -}}
{{- range $name, $_ := $engine.extraEnv -}}
{{-   if has $name $generated -}}
{{-     $messages = append $messages (printf "[LLM016] engine.extraEnv.%s: the chart sets this variable; remove it and use the value that stands for it" $name) -}}
{{-   else if eq $name "VLLM_SERVER_DEV_MODE" -}}
{{-     $messages = append $messages "[LLM411] engine.extraEnv.VLLM_SERVER_DEV_MODE: it opens routes that stop and read the engine to every client; remove it" -}}
{{-   else if has $name (list "VLLM_PORT" "VLLM_HOST_IP" "PROMETHEUS_MULTIPROC_DIR" "SGLANG_PORT") -}}
{{-     $messages = append $messages (printf "[LLM016] engine.extraEnv.%s: it is the engine's own, and setting it breaks it; remove it" $name) -}}
{{-   else if regexMatch "(?i)(token|secret|password|api_?key|access_?key)" $name -}}
{{-     $messages = append $messages (printf "[LLM401] engine.extraEnv.%s: a secret does not belong in values; put it into a Secret (engine.apiKey, engine.huggingFaceToken, weights.source.s3.existingSecret)" $name) -}}
{{-   end -}}
{{- end -}}
{{- /* Parallel size and shared memory. */ -}}
{{- if and (gt (int64 $derived.gpusPerReplica) 1) (lt (int64 $derived.sharedMemoryGibibytes) 2) -}}
{{-   $messages = append $messages (printf "[LLM127] engine.sharedMemoryGibibytes: %d is too little for the exchange between %d GPUs; write at least 2, or null" (int64 $derived.sharedMemoryGibibytes) (int64 $derived.gpusPerReplica)) -}}
{{- end -}}
{{- if gt (int64 $derived.gpusPerNode) 16 -}}
{{-   $messages = append $messages (printf "[LLM103] engine.tensorParallelSize: %d GPUs on one node, and none has more than 16; write a smaller size, or spread a replica over several nodes (multiNode)" (int64 $derived.gpusPerNode)) -}}
{{- end -}}
{{- with $engine.migProfile -}}
{{-   if gt (int64 $derived.gpusPerReplica) 1 -}}
{{-     $messages = append $messages (printf "[LLM338] engine.migProfile: slices of a GPU cannot form a group of %d; write tensorParallelSize and pipelineParallelSize 1, or no profile" (int64 $derived.gpusPerReplica)) -}}
{{-   end -}}
{{-   if has $.Values.nodes.provider (list "karpenter" "autoMode") -}}
{{-     $messages = append $messages (printf "[LLM363] engine.migProfile: Karpenter knows no nvidia.com/mig-%s and makes no node for it; write nodes.provider managedNodeGroup, hybrid or existing, or no profile" .) -}}
{{-   end -}}
{{-   range $type := $.Catalog.instanceTypes -}}
{{-     $instance := get $.Catalog.instances $type -}}
{{-     $profiles := get (get (get $.Catalog.gpus $instance.gpu) "mig" | default dict) (toString (int64 $instance.gpuMemoryMebibytes)) | default dict -}}
{{-     if not (hasKey $profiles $engine.migProfile) -}}
{{-       $messages = append $messages (printf "[LLM363] engine.migProfile: the GPU of %s has %s; write one of them, or another instance type" $type (ternary (printf "no slices %s, but %s" $engine.migProfile (keys $profiles | sortAlpha | join ", ")) "no slices (MIG)" (not (empty $profiles)))) -}}
{{-     end -}}
{{-   end -}}
{{- end -}}
{{- if lt (int64 $derived.memoryMebibytes) (int64 $derived.hostMemoryMebibytes) -}}
{{-   $messages = append $messages (printf "[LLM137] engine.resources.memory: %s is less than engine, shared memory and streaming buffer need together; write at least %dMi, or null" $engine.resources.memory (int64 $derived.hostMemoryMebibytes)) -}}
{{- end -}}
{{- if lt (int64 $derived.ephemeralGibibytes) (int64 $derived.leastEphemeralGibibytes) -}}
{{-   $messages = append $messages (printf "[LLM602] engine.resources.ephemeralStorage: %s is less than weights and caches need; write at least %dGi, or null" $engine.resources.ephemeralStorage (int64 $derived.leastEphemeralGibibytes)) -}}
{{- end -}}
{{- /* Start. */ -}}
{{- $inContainer := add $derived.loadSeconds $derived.engineStartSeconds -}}
{{- if lt (float64 $derived.startupBudgetSeconds) (mulf $inContainer 1.2) -}}
{{-   $messages = append $messages (printf "[LLM113] engine.startup.safetyFactor: the startup probe would give up after %d s, and load and start are planned to take %d s; write a larger factor, e.g. 3" (int64 $derived.startupBudgetSeconds) $inContainer) -}}
{{- end -}}
{{- /* Shutdown. */ -}}
{{- $drains := or (include "llm-inference.engine.can" (dict "root" . "ability" "shutdownTimeout")) (include "llm-inference.engine.can" (dict "root" . "ability" "drainsUntilKilled")) -}}
{{- if and (eq (int64 $engine.drainSeconds) 0) $drains -}}
{{-   $messages = append $messages "[LLM702] engine.drainSeconds: 0 aborts every running request when a pod stops; write the seconds that the longest answer takes" -}}
{{- end -}}
{{- /* Rollout. */ -}}
{{- if $engine.rollout.acceptDowntime -}}
{{-   if ne (int64 $engine.rollout.surgeReplicas) 1 -}}
{{-     $messages = append $messages "[LLM019] engine.rollout.surgeReplicas: engine.rollout.acceptDowntime updates without extra replicas; remove one of the two" -}}
{{-   end -}}
{{- else if eq (int64 $engine.rollout.surgeReplicas) 0 -}}
{{-   $messages = append $messages "[LLM016] engine.rollout.surgeReplicas: an update with neither an extra replica nor one less cannot proceed; write 1, or set engine.rollout.acceptDowntime" -}}
{{- else if and .Values.nodes.create .Values.nodes.gpuLimit -}}
{{-   $tiers := 0 -}}
{{-   $static := false -}}
{{-   range $_, $tier := .Values.nodes.tiers -}}{{- if $tier.enabled -}}{{- $tiers = add1 $tiers -}}{{- if $tier.nodes -}}{{- $static = true -}}{{- end -}}{{- end -}}{{- end -}}
{{-   $needed := mul (add $derived.maxReplicas $derived.surgeReplicas) $derived.gpusPerReplica -}}
{{-   if and $tiers (not $static) (gt $needed (mul .Values.nodes.gpuLimit $tiers)) -}}
{{-     $messages = append $messages (printf "[LLM709] engine.rollout.surgeReplicas: an update at %d replicas needs %d GPUs, nodes.gpuLimit allows %d; raise the limit to %d, or set engine.rollout.acceptDowntime" (int64 $derived.maxReplicas) $needed (mul .Values.nodes.gpuLimit $tiers) (div (add $needed $tiers -1) $tiers)) -}}
{{-   end -}}
{{- end -}}
{{- if and $engine.podDisruptionBudget.enabled (gt (int64 $derived.maxReplicas) 1) (ge (int64 $engine.podDisruptionBudget.maxUnavailable) (int64 $derived.maxReplicas)) -}}
{{-   $messages = append $messages (printf "[LLM706] engine.podDisruptionBudget.maxUnavailable: %d of at most %d replicas protects nothing; write a smaller number" (int64 $engine.podDisruptionBudget.maxUnavailable) (int64 $derived.maxReplicas)) -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (ne (int64 $engine.replicas) 1) -}}
{{-   $messages = append $messages (printf "[LLM019] engine.replicas: %d has no effect, autoscaling decides; write autoscaling.minReplicas" (int64 $engine.replicas)) -}}
{{- end -}}
{{- /* Compile cache. */ -}}
{{- if $engine.compileCache.enabled -}}
{{-   if not $engine.compileCache.existingClaim -}}
{{-     $messages = append $messages "[LLM017] engine.compileCache.existingClaim: the cache needs a ReadWriteMany claim; name one" -}}
{{-   end -}}
{{-   if $engine.enforceEager -}}
{{-     $messages = append $messages "[LLM019] engine.compileCache.enabled: with engine.enforceEager nothing is compiled; write false" -}}
{{-   end -}}
{{-   $gpus := list -}}
{{-   range $derived.candidateTypes -}}{{- $gpus = append $gpus (get $.Catalog.instances .).gpu -}}{{- end -}}
{{-   if ne (len (uniq $gpus)) 1 -}}
{{-     $messages = append $messages (printf "[LLM610] engine.compileCache.enabled: kernels are compiled for one GPU, nodes.instanceTypes names %s; name types with one kind of GPU" (ternary "none" (uniq $gpus | join ", ") (empty $gpus))) -}}
{{-   end -}}
{{- else if eq (toString $engine.compileCache.startupPlan) "true" -}}
{{-   $messages = append $messages "[LLM019] engine.compileCache.startupPlan: it is kept on the volume of engine.compileCache, which is not enabled; set that, or write null" -}}
{{- else if $engine.compileCache.existingClaim -}}
{{-   $messages = append $messages "[LLM019] engine.compileCache.existingClaim: it is not used while engine.compileCache.enabled is false; set that to true" -}}
{{- end -}}
{{- $service := include "llm-inference.engine.service" . -}}
{{- if has $service (keys .Catalog.engines) -}}
{{-   $messages = append $messages (printf "[LLM123] fullnameOverride: a Service named %s gives every pod of the namespace a %s_PORT that engines fail on; write another name" $service (upper $service)) -}}
{{- end -}}
{{- if and $engine.runtimeClassName (eq (include "llm-inference.nodes.family" .) "bottlerocket") -}}
{{-   $messages = append $messages "[LLM016] engine.runtimeClassName: Bottlerocket has no runtime class of this kind, pods would not be created; remove it" -}}
{{- end -}}
{{- $messages = concat $messages (include "llm-inference.engine.violations.metadata" . | fromJsonArray) -}}
{{- compact $messages | join "\n" -}}
{{- end -}}
{{- end -}}

{{/* `engine.extraArgs` against what the chart generates; a JSON list. */}}
{{- define "llm-inference.engine.violations.arguments" -}}
{{- $messages := list -}}
{{- $generated := concat (include (printf "llm-inference.engine.%s.generatedOptions" .Values.engine.type) . | fromJsonArray) (include "llm-inference.multiNode.generatedOptions" . | fromJsonArray) -}}
{{- $words := .Values.engine.extraArgs -}}
{{- if and $words (not (hasPrefix "-" (first $words))) -}}
{{-   $messages = append $messages (printf "[LLM016] engine.extraArgs: `%s` stands where an option is expected; begin with an option such as --seed" (first $words)) -}}
{{- end -}}
{{- range $word := $words -}}
{{-   if hasPrefix "-" $word -}}
{{-     $name := splitList "=" $word | first -}}
{{-     if hasPrefix "--" $name -}}{{- $name = replace "_" "-" $name -}}{{- end -}}
{{-     if has $name $generated -}}
{{-       if eq $name "--api-key" -}}
{{-         $messages = append $messages "[LLM401] engine.extraArgs: --api-key puts the key into the manifest; write engine.apiKey.existingSecret" -}}
{{-       else -}}
{{-         $messages = append $messages (printf "[LLM109] engine.extraArgs: %s is an option that the chart generates; use its value instead" $name) -}}
{{-       end -}}
{{-     else if eq $name "--disable-log-stats" -}}
{{-       $messages = append $messages "[LLM509] engine.extraArgs: --disable-log-stats switches off the metrics that scaling and alerts read; remove it" -}}
{{-     end -}}
{{-   end -}}
{{- end -}}
{{- toJson $messages -}}
{{- end -}}

{{/* Labels and annotations that the chart owns; a JSON list. */}}
{{- define "llm-inference.engine.violations.metadata" -}}
{{- $messages := list -}}
{{- $owned := "^(app\\.kubernetes\\.io/|helm\\.sh/|llm-inference\\.io/|pod-template-hash$)" -}}
{{- range $key, $labels := dict "commonLabels" .Values.commonLabels "engine.podLabels" .Values.engine.podLabels -}}
{{-   range $label, $_ := $labels -}}
{{-     if regexMatch $owned $label -}}
{{-       $messages = append $messages (printf "[LLM016] %s: `%s` is a label that the chart sets, and selectors rely on it; remove it" $key $label) -}}
{{-     end -}}
{{-   end -}}
{{- end -}}
{{- range $annotation, $_ := .Values.engine.podAnnotations -}}
{{-   if regexMatch "^chartproof\\.io/(model|precision|weights-gigabytes|weights-delivery|engine-version|image-gigabytes|node-family|engine-start-seconds)$" $annotation -}}
{{-     $messages = append $messages (printf "[LLM016] engine.podAnnotations: `%s` is derived from the values; remove it" $annotation) -}}
{{-   else if eq $annotation "karpenter.sh/do-not-disrupt" -}}
{{-     $messages = append $messages "[LLM016] engine.podAnnotations: karpenter.sh/do-not-disrupt is set by engine.doNotDisrupt; write the duration there" -}}
{{-   else if and (hasPrefix "prometheus.io/" $annotation) (eq $.Values.observability.monitoring "annotations") -}}
{{-     $messages = append $messages (printf "[LLM016] engine.podAnnotations: `%s` is set by observability.monitoring; remove it" $annotation) -}}
{{-   end -}}
{{- end -}}
{{- toJson $messages -}}
{{- end -}}
