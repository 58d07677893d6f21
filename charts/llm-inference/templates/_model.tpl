{{/* Contradictions in `model`, and between the model and the GPUs it is to run on. */}}
{{- define "llm-inference.model.violations" -}}
{{- $messages := list -}}
{{- range $type := .Catalog.unknownInstanceTypes -}}
{{-   $messages = append $messages (printf "[LLM018] nodes.instanceTypes: `%s` is not in files/catalog/instances.yaml; correct the spelling, or remove it" $type) -}}
{{- end -}}
{{- if .Values.engine.enabled -}}
{{- $model := .Values.model -}}
{{- $derived := .Derived -}}
{{- $weights := get .Catalog.model "weightsGB" | default dict -}}
{{- if not .Catalog.modelKnown -}}
{{-   $messages = append $messages (printf "[LLM018] model.id: `%s` is not in files/catalog/models.yaml; correct the spelling, or describe it in model.profile (weightsGB at least)" $model.id) -}}
{{- else if not $weights -}}
{{-   $messages = append $messages (printf "[LLM017] model.profile.weightsGB: the size of `%s` is not known; write e.g. {%s: 16.1}, in gigabytes of the checkpoint" $model.id $model.precision) -}}
{{- else if not (hasKey $weights $model.precision) -}}
{{-   $messages = append $messages (printf "[LLM018] model.precision: `%s` is not known for `%s`; write one of %s, or its size in model.profile.weightsGB" $model.precision $model.id (keys $weights | sortAlpha | join ", ")) -}}
{{- end -}}
{{- with get .Catalog.model "mla" -}}
{{-   if not (and (get . "kvLoraRank") (get . "qkRopeHeadDim")) -}}
{{-     $messages = append $messages "[LLM017] model.profile.mla: latent attention is described by two numbers; write kvLoraRank and qkRopeHeadDim" -}}
{{-   end -}}
{{- end -}}
{{- if has $model.revision (list "main" "master" "latest" "head" "HEAD") -}}
{{-   $messages = append $messages (printf "[LLM413] model.revision: `%s` moves, and with it what is served; write the commit (40 hexadecimal digits)" $model.revision) -}}
{{- end -}}
{{- $heads := get .Catalog.model "heads" | default 0 | int64 -}}
{{- $tensor := int64 .Values.engine.tensorParallelSize -}}
{{- if and $heads (ne (mod $heads $tensor) 0) -}}
{{-   $messages = append $messages (printf "[LLM104] engine.tensorParallelSize: %d does not divide the %d attention heads of `%s`; write a divisor, e.g. %d" $tensor $heads $model.id (include "llm-inference.model.divisor" (dict "heads" $heads "most" $tensor) | int64)) -}}
{{- end -}}
{{- $layers := get .Catalog.model "layers" | default 0 | int64 -}}
{{- if and $layers (gt (int64 .Values.engine.pipelineParallelSize) $layers) -}}
{{-   $messages = append $messages (printf "[LLM103] engine.pipelineParallelSize: %d groups for %d layers leave GPUs without work; write at most %d" (int64 .Values.engine.pipelineParallelSize) $layers $layers) -}}
{{- end -}}
{{- if and .Values.engine.maxModelLen $derived.contextTokens (gt (int64 .Values.engine.maxModelLen) $derived.contextTokens) -}}
{{-   $messages = append $messages (printf "[LLM143] engine.maxModelLen: %d is longer than the context of `%s`; write at most %d" (int64 .Values.engine.maxModelLen) $model.id $derived.contextTokens) -}}
{{- end -}}
{{- $messages = concat $messages (include "llm-inference.model.violations.instances" . | fromJsonArray) -}}
{{- end -}}
{{- compact $messages | join "\n" -}}
{{- end -}}

{{/* Largest divisor of `heads` that is at most `most`. */}}
{{- define "llm-inference.model.divisor" -}}
{{- $found := 1 -}}
{{- range $each := untilStep 1 (int (add .most 1)) 1 -}}
{{-   if eq (mod $.heads $each) 0 -}}{{- $found = $each -}}{{- end -}}
{{- end -}}
{{- $found -}}
{{- end -}}

{{/* Whether each instance type a replica may run on can hold and compute it; a JSON list. */}}
{{- define "llm-inference.model.violations.instances" -}}
{{- $root := . -}}
{{- $messages := list -}}
{{- $derived := .Derived -}}
{{- $engine := .Values.engine -}}
{{- $precision := .Values.model.precision -}}
{{- if and .Catalog.instanceTypes (not $derived.candidateTypes) -}}
{{-   $messages = append $messages (printf "[LLM138] nodes.instanceTypes: a %s needs %d GPUs, and none of %s has as many; name a larger type, or lower engine.tensorParallelSize" (ternary "node of a group" "replica" (gt (int64 $derived.nodesPerReplica) 1)) (int64 $derived.gpusPerNode) (join ", " .Catalog.instanceTypes)) -}}
{{- end -}}
{{- $roomy := list -}}
{{- $needs := "" -}}
{{- /* What DaemonSets and the system take besides (CNI, kube-proxy, log and metrics agents): an estimate. */ -}}
{{- $overheadMillicpu := 250 -}}
{{- $overheadMebibytes := 768 -}}
{{- range $type := $derived.candidateTypes -}}
{{-   $instance := get $root.Catalog.instances $type -}}
{{-   $gpu := get $root.Catalog.gpus $instance.gpu -}}
{{-   $capability := float64 $gpu.computeCapability -}}
{{-   $compute := get $root.Catalog.engine "computeCapability" | default dict -}}
{{-   if and $compute (lt $capability (float64 $compute.least)) (include "llm-inference.engine.since" (dict "root" $root "facts" $compute)) -}}
{{-     $messages = append $messages (printf "[LLM144] engine.version: %s dropped the %s of %s (compute capability %s); write a version below %s, or another instance type" $derived.engineVersion $gpu.product $type $gpu.computeCapability $compute.since) -}}
{{-   end -}}
{{-   if and (lt $capability 8.0) (eq $engine.dtype "bfloat16") -}}
{{-     $messages = append $messages (printf "[LLM134] engine.dtype: the %s of %s has no bfloat16; write float16, or auto" $gpu.product $type) -}}
{{-   end -}}
{{-   $least := 0.0 -}}
{{-   if hasPrefix "fp8" $precision -}}{{- $least = 8.9 -}}
{{-   else if hasPrefix "nvfp4" $precision -}}{{- $least = 10.0 -}}
{{- /* vLLM has kernels of AWQ for Turing beside Marlin's (vllm-project/vllm#1252), and Marlin's too since #29901. */ -}}
{{-   else if and (hasPrefix "awq" $precision) (eq $engine.type "vllm") -}}{{- $least = 7.5 -}}
{{-   else if regexMatch "awq|gptq|int4|int8|mxfp4|w4a16|w8a8" $precision -}}{{- $least = 8.0 -}}
{{-   end -}}
{{-   if lt $capability $least -}}
{{-     $messages = append $messages (printf "[LLM140] model.precision: the %s of %s has no kernels for %s (compute capability %s, %.1f is needed); write another precision or instance type" $gpu.product $type $precision $gpu.computeCapability $least) -}}
{{-   end -}}
{{-   if and (hasPrefix "fp8" $engine.kvCacheDtype) (lt $capability 8.9) -}}
{{-     $messages = append $messages (printf "[LLM140] engine.kvCacheDtype: the %s of %s has no fp8 (compute capability %s, 8.9 is needed); write auto" $gpu.product $type $gpu.computeCapability) -}}
{{-   end -}}
{{-   $cpuFits := le (add $derived.millicpu $overheadMillicpu) (int64 $instance.allocatableMillicpu) -}}
{{-   $memoryFits := le (add $derived.memoryMebibytes $overheadMebibytes) (int64 $instance.allocatableMemoryMebibytes) -}}
{{-   if and $cpuFits $memoryFits -}}
{{-     $roomy = append $roomy $type -}}
{{-   else -}}
{{-     $needs = printf "%s has %d m CPU and %d Mi" $type (int64 $instance.allocatableMillicpu) (int64 $instance.allocatableMemoryMebibytes) -}}
{{-   end -}}
{{- end -}}
{{- if and $derived.candidateTypes (not $roomy) -}}
{{-   $messages = append $messages (printf "[LLM138] engine.resources: the pod asks for %d m CPU and %d Mi, which with %d m and %d Mi for DaemonSets fits no instance type (%s allocatable); lower the requests, or name larger types" (int64 $derived.millicpu) (int64 $derived.memoryMebibytes) $overheadMillicpu $overheadMebibytes $needs) -}}
{{- end -}}
{{- if $derived.smallestInstance -}}
{{-   $gpu := get .Catalog.gpus (get .Catalog.instances $derived.smallestInstance).gpu -}}
{{-   $where := printf "%d x %s of %s%s" (int64 $derived.gpusPerReplica) $gpu.product (gt (int64 $derived.nodesPerReplica) 1 | ternary (printf "%d " (int64 $derived.nodesPerReplica)) "") $derived.smallestInstance -}}
{{-   if and $derived.weightsGigabytes (le $derived.kvGigabytes 0.0) -}}
{{-     $messages = append $messages (printf "[LLM135] nodes.instanceTypes: the %.1f GB of weights do not fit %s at engine.gpuMemoryUtilization %v (%.1f GB are missing); name a larger GPU, raise engine.tensorParallelSize, or choose a smaller model.precision" $derived.weightsGigabytes $where $engine.gpuMemoryUtilization (mulf $derived.kvGigabytes -1)) -}}
{{-   else if and $derived.kvCapacityTokens $derived.maxModelLen (lt $derived.kvCapacityTokens $derived.maxModelLen) -}}
{{-     $messages = append $messages (printf "[LLM135] engine.maxModelLen: the KV cache on %s holds %d tokens, one request may have %d, and the engine refuses to start; write at most %d" $where (int64 $derived.kvCapacityTokens) (int64 $derived.maxModelLen) (int64 $derived.kvCapacityTokens)) -}}
{{-   end -}}
{{- end -}}
{{- toJson $messages -}}
{{- end -}}
