{{/* What SGLang is told, beside what every engine is. */}}

{{/* Arguments of `python3 -m sglang.launch_server`, as a JSON list. Every option exists from the catalog's `oldest` on, unless an ability says otherwise. */}}
{{- define "llm-inference.engine.sglang.arguments" -}}
{{- $engine := .Values.engine -}}
{{- $derived := .Derived -}}
{{- $facts := .Catalog.engine -}}
{{- /* It listens on 127.0.0.1 and exports no metrics unless told. */ -}}
{{- $arguments := list "--model-path" (include "llm-inference.weights.path" .)
      "--served-model-name" $derived.modelName
      "--host" "0.0.0.0"
      "--port" (toString (int64 $engine.port))
      "--enable-metrics"
      "--mem-fraction-static" (toString $derived.memFractionStatic)
      "--dtype" (include "llm-inference.engine.dtype" .)
      "--kv-cache-dtype" (get $facts.kvCacheDtypes $engine.kvCacheDtype | default "auto")
      "--tp-size" (toString (int64 $engine.tensorParallelSize))
      "--pp-size" (toString (int64 $engine.pipelineParallelSize)) -}}
{{- $arguments = concat $arguments (get $facts.tasks $engine.task | default list) -}}
{{- with $engine.maxModelLen -}}{{- $arguments = concat $arguments (list "--context-length" (toString (int64 .))) -}}{{- end -}}
{{- with $engine.maxNumSeqs -}}{{- $arguments = concat $arguments (list "--max-running-requests" (toString (int64 .))) -}}{{- end -}}
{{- with $engine.maxNumBatchedTokens -}}{{- $arguments = concat $arguments (list "--chunked-prefill-size" (toString (int64 .))) -}}{{- end -}}
{{- with $engine.quantization -}}{{- $arguments = concat $arguments (list "--quantization" .) -}}{{- end -}}
{{- if eq $engine.schedulingPolicy "priority" -}}
{{- /* Its own order is the other way round, and it puts requests without a priority last. */ -}}
{{-   $arguments = concat $arguments (list "--enable-priority-scheduling" "--schedule-low-priority-values-first" "--default-priority-value" "0") -}}
{{- end -}}
{{- if not $engine.enablePrefixCaching -}}{{- $arguments = append $arguments "--disable-radix-cache" -}}{{- end -}}
{{- if $engine.enforceEager -}}
{{-   if include "llm-inference.engine.can" (dict "root" . "ability" "cudaGraphBackend") -}}
{{-     $arguments = concat $arguments (list "--cuda-graph-backend-decode" "disabled" "--cuda-graph-backend-prefill" "disabled") -}}
{{-   else -}}
{{-     $arguments = append $arguments "--disable-cuda-graph" -}}
{{-   end -}}
{{- end -}}
{{- if $engine.trustRemoteCode -}}{{- $arguments = append $arguments "--trust-remote-code" -}}{{- end -}}
{{- /* Level 1: who asked for how much, without prompts and answers. */ -}}
{{- if $engine.enableLogRequests -}}{{- $arguments = concat $arguments (list "--log-requests" "--log-requests-level" "1") -}}{{- end -}}
{{- if gt (int64 $engine.maxNumQueuedRequests) 0 -}}
{{-   $arguments = concat $arguments (list "--max-queued-requests" (toString (int64 $engine.maxNumQueuedRequests))) -}}
{{- end -}}
{{- with $engine.toolCalling.parser -}}{{- $arguments = concat $arguments (list "--tool-call-parser" .) -}}{{- end -}}
{{- with $engine.reasoningParser -}}{{- $arguments = concat $arguments (list "--reasoning-parser" .) -}}{{- end -}}
{{- if ne $engine.structuredOutputBackend "auto" -}}
{{-   $arguments = concat $arguments (list "--grammar-backend" (get $facts.structuredOutputBackends $engine.structuredOutputBackend | default "xgrammar")) -}}
{{- end -}}
{{- if $engine.lora.adapters -}}
{{-   $arguments = concat $arguments (list "--enable-lora" "--max-loras-per-batch" (toString (int64 $engine.lora.maxActive)) "--max-lora-rank" (toString (int64 $engine.lora.maxRank)) "--lora-paths") -}}
{{-   $arguments = concat $arguments (include "llm-inference.engine.adapters" . | fromJsonArray) -}}
{{- end -}}
{{- if $engine.speculative.method -}}
{{-   $method := get $facts.speculativeMethods $engine.speculative.method -}}
{{-   $tokens := int64 $engine.speculative.tokens -}}
{{-   $arguments = concat $arguments (list "--speculative-algorithm" $method.word) -}}
{{-   if eq $engine.speculative.method "ngram" -}}
{{-     $arguments = concat $arguments (list "--speculative-num-draft-tokens" (toString $tokens)) -}}
{{-   else -}}
{{- /* A chain, no tree: then the tokens to verify are the guessed ones and the one that is certain. */ -}}
{{-     $arguments = concat $arguments (list "--speculative-num-steps" (toString $tokens) "--speculative-eagle-topk" "1" "--speculative-num-draft-tokens" (toString (add1 $tokens))) -}}
{{-   end -}}
{{-   with include "llm-inference.engine.draftModel" . -}}{{- $arguments = concat $arguments (list "--speculative-draft-model-path" .) -}}{{- end -}}
{{- end -}}
{{- if $engine.kvOffloadGibibytes -}}
{{- /* Each rank takes this many gigabytes (1e9 bytes). */ -}}
{{-   $gigabytes := divf (mulf $engine.kvOffloadGibibytes 1.073741824) $derived.gpusPerReplica | floor | int64 | max 1 -}}
{{-   $arguments = concat $arguments (list "--enable-hierarchical-cache" "--hicache-size" (toString $gigabytes)) -}}
{{- end -}}
{{- if include "llm-inference.engine.can" (dict "root" . "ability" "quietAccessLog") -}}
{{- /* Probes and scrapes would be most of the log. */ -}}
{{-   $arguments = concat $arguments (list "--uvicorn-access-log-exclude-prefixes" "/health" "/ready" "/metrics") -}}
{{- end -}}
{{- /* The kubelet fills the variable in; one word, because a key may begin with a dash. */ -}}
{{- if $engine.apiKey.existingSecret -}}{{- $arguments = append $arguments "--api-key=$(SGLANG_API_KEY)" -}}{{- end -}}
{{- $arguments | toJson -}}
{{- end -}}

{{/* Options that stand for values of the chart; `extraArgs` may not repeat them. */}}
{{- define "llm-inference.engine.sglang.generatedOptions" -}}
{{- list "--model-path" "--model" "--served-model-name" "--host" "--port" "--enable-metrics" "--mem-fraction-static" "--dtype"
      "--kv-cache-dtype" "--tp-size" "--tp" "--tensor-parallel-size" "--pp-size" "--pp" "--pipeline-parallel-size"
      "--is-embedding" "--context-length" "--max-running-requests" "--chunked-prefill-size" "--quantization"
      "--disable-radix-cache" "--cuda-graph-backend-decode" "--cuda-graph-backend-prefill" "--disable-cuda-graph"
      "--trust-remote-code" "--log-requests" "--log-requests-level" "--max-queued-requests" "--tool-call-parser"
      "--reasoning-parser" "--grammar-backend" "--enable-lora" "--lora-paths" "--max-loras-per-batch" "--max-lora-rank"
      "--speculative-algorithm" "--speculative-num-steps" "--speculative-eagle-topk" "--speculative-num-draft-tokens"
      "--speculative-draft-model-path" "--speculative-draft-model" "--enable-hierarchical-cache" "--enable-hicache"
      "--hicache-size" "--uvicorn-access-log-exclude-prefixes" "--load-format" "--model-loader-extra-config"
      "--revision" "--api-key" "--config" "--enable-priority-scheduling"
      "--schedule-low-priority-values-first" "--default-priority-value" | toJson -}}
{{- end -}}

{{- define "llm-inference.engine.sglang.generatedVariables" -}}
["SGLANG_CACHE_DIR", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "FLASHINFER_WORKSPACE_BASE", "SGLANG_API_KEY"]
{{- end -}}

{{/* Kernels are compiled by several programs; the newest versions put all of them below SGLANG_CACHE_DIR by themselves. */}}
{{- define "llm-inference.engine.sglang.environment" -}}
{{- $cache := include "llm-inference.engine.cacheRoot" . -}}
- name: SGLANG_CACHE_DIR
  value: {{ $cache }}
- name: TRITON_CACHE_DIR
  value: {{ $cache }}/triton
- name: TORCHINDUCTOR_CACHE_DIR
  value: {{ $cache }}/inductor
- name: FLASHINFER_WORKSPACE_BASE
  value: {{ $cache }}
{{- with .Values.engine.apiKey.existingSecret }}
- name: SGLANG_API_KEY
  valueFrom:
    secretKeyRef:
      name: {{ . | quote }}
      key: {{ $.Values.engine.apiKey.key | quote }}
{{- end }}
{{- end -}}
