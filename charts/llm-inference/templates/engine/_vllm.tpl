{{/* What vLLM is told, beside what every engine is. */}}

{{/*
Arguments of `vllm serve`, as a JSON list. Spellings are those that every version in the chart's range takes
(`--no-enable-prefix-caching`: `--disable-prefix-caching` exists from 0.33 only).
*/}}
{{- define "llm-inference.engine.vllm.arguments" -}}
{{- $engine := .Values.engine -}}
{{- $derived := .Derived -}}
{{- $facts := .Catalog.engine -}}
{{- $arguments := list (include "llm-inference.weights.path" .) "--served-model-name" -}}
{{- $arguments = concat $arguments $derived.servedModelNames -}}
{{- $arguments = concat $arguments (list
      "--port" (toString (int64 $engine.port))
      "--gpu-memory-utilization" (toString $engine.gpuMemoryUtilization)
      "--dtype" (include "llm-inference.engine.dtype" .)
      "--kv-cache-dtype" $engine.kvCacheDtype
      "--tensor-parallel-size" (toString (int64 $engine.tensorParallelSize))
      "--pipeline-parallel-size" (toString (int64 $engine.pipelineParallelSize))) -}}
{{- $arguments = concat $arguments (get $facts.tasks $engine.task | default list) -}}
{{- with $engine.maxModelLen -}}{{- $arguments = concat $arguments (list "--max-model-len" (toString (int64 .))) -}}{{- end -}}
{{- with $engine.maxNumSeqs -}}{{- $arguments = concat $arguments (list "--max-num-seqs" (toString (int64 .))) -}}{{- end -}}
{{- with $engine.maxNumBatchedTokens -}}{{- $arguments = concat $arguments (list "--max-num-batched-tokens" (toString (int64 .))) -}}{{- end -}}
{{- with $engine.quantization -}}{{- $arguments = concat $arguments (list "--quantization" .) -}}{{- end -}}
{{- /* Which models without a decoder can keep prefixes, the engine knows. */ -}}
{{- if or (eq $engine.task "generate") (not $engine.enablePrefixCaching) -}}
{{-   $arguments = append $arguments (ternary "--enable-prefix-caching" "--no-enable-prefix-caching" $engine.enablePrefixCaching) -}}
{{- end -}}
{{- if $engine.enforceEager -}}{{- $arguments = append $arguments "--enforce-eager" -}}{{- end -}}
{{- if $engine.trustRemoteCode -}}{{- $arguments = append $arguments "--trust-remote-code" -}}{{- end -}}
{{- if $engine.enableLogRequests -}}{{- $arguments = append $arguments "--enable-log-requests" -}}{{- end -}}
{{- if ne $engine.schedulingPolicy "fcfs" -}}{{- $arguments = concat $arguments (list "--scheduling-policy" $engine.schedulingPolicy) -}}{{- end -}}
{{- if gt (int64 $engine.maxNumQueuedRequests) 0 -}}
{{- /* vLLM's option counts running requests too (AsyncLLM.check_admission): alone, it would bound the batch. */ -}}
{{-   $arguments = concat $arguments (list "--max-num-queued-reqs" (toString (add $derived.maxNumSeqs $engine.maxNumQueuedRequests))) -}}
{{- end -}}
{{- if $engine.toolCalling.parser -}}
{{-   if $engine.toolCalling.autoChoice -}}{{- $arguments = append $arguments "--enable-auto-tool-choice" -}}{{- end -}}
{{-   $arguments = concat $arguments (list "--tool-call-parser" $engine.toolCalling.parser) -}}
{{- end -}}
{{- with $engine.reasoningParser -}}{{- $arguments = concat $arguments (list "--reasoning-parser" .) -}}{{- end -}}
{{- if ne $engine.structuredOutputBackend "auto" -}}
{{-   $backend := dict "backend" (get $facts.structuredOutputBackends $engine.structuredOutputBackend) -}}
{{-   $arguments = concat $arguments (list "--structured-outputs-config" (toJson $backend)) -}}
{{- end -}}
{{- if $engine.lora.adapters -}}
{{-   $arguments = concat $arguments (list "--enable-lora" "--max-loras" (toString (int64 $engine.lora.maxActive)) "--max-lora-rank" (toString (int64 $engine.lora.maxRank)) "--lora-modules") -}}
{{-   $arguments = concat $arguments (include "llm-inference.engine.adapters" . | fromJsonArray) -}}
{{- end -}}
{{- if $engine.speculative.method -}}
{{-   $method := get $facts.speculativeMethods $engine.speculative.method -}}
{{-   $configuration := dict "method" $method.word "num_speculative_tokens" (int64 $engine.speculative.tokens) -}}
{{-   with include "llm-inference.engine.draftModel" . -}}{{- $_ := set $configuration "model" . -}}{{- end -}}
{{-   $arguments = concat $arguments (list "--speculative-config" (toJson $configuration)) -}}
{{- end -}}
{{- if $engine.kvOffloadGibibytes -}}
{{-   $arguments = concat $arguments (list "--kv-offloading-size" (toString (int64 $engine.kvOffloadGibibytes)) "--kv-offloading-backend" "native") -}}
{{- end -}}
{{- if include "llm-inference.engine.can" (dict "root" . "ability" "quietAccessLog") -}}
{{- /* Probes and scrapes would be most of the log. */ -}}
{{-   $arguments = concat $arguments (list "--disable-access-log-for-endpoints" "/health,/metrics") -}}
{{- end -}}
{{- if gt (int64 $derived.shutdownTimeoutSeconds) 0 -}}
{{- /* Without it the engine aborts every running request on SIGTERM (0.18 and newer). */ -}}
{{-   $arguments = concat $arguments (list "--shutdown-timeout" (toString $derived.shutdownTimeoutSeconds)) -}}
{{- end -}}
{{- $arguments | toJson -}}
{{- end -}}

{{/* Options that stand for values of the chart; `extraArgs` may not repeat them. */}}
{{- define "llm-inference.engine.vllm.generatedOptions" -}}
{{- $options := list "--model" "--served-model-name" "--port" "--host" "--gpu-memory-utilization" "--device-memory-utilization" "--dtype"
      "--kv-cache-dtype" "--tensor-parallel-size" "-tp" "--pipeline-parallel-size" "-pp" "--max-model-len" "--max-num-seqs"
      "--max-num-batched-tokens" "--quantization" "-q" "--enable-prefix-caching" "--no-enable-prefix-caching"
      "--disable-prefix-caching" "--enforce-eager" "--no-enforce-eager" "--trust-remote-code" "--no-trust-remote-code"
      "--enable-log-requests" "--no-enable-log-requests" "--disable-log-requests" "--max-num-queued-reqs"
      "--disable-access-log-for-endpoints" "--shutdown-timeout" "--load-format" "--model-loader-extra-config"
      "--runner" "--convert" "--tool-call-parser" "--enable-auto-tool-choice" "--no-enable-auto-tool-choice"
      "--disable-auto-tool-choice" "--reasoning-parser" "--structured-outputs-config" "--enable-lora" "--no-enable-lora"
      "--disable-lora" "--lora-modules" "--max-loras" "--max-lora-rank" "--speculative-config" "-sc"
      "--kv-offloading-size" "--kv-offloading-backend" "--scheduling-policy"
      "--revision" "--api-key" "--hf-token" "--config" -}}
{{- /* Without roles it is the user's, for connectors that the chart does not know. */ -}}
{{- if hasKey . "Role" }}{{ $options = append $options "--kv-transfer-config" }}{{ end -}}
{{- toJson $options -}}
{{- end -}}

{{- define "llm-inference.engine.vllm.generatedVariables" -}}
{{- $names := list "VLLM_CACHE_ROOT" "VLLM_API_KEY" -}}
{{- if hasKey . "Role" }}{{ $names = concat $names (list "VLLM_NIXL_SIDE_CHANNEL_HOST" "VLLM_NIXL_SIDE_CHANNEL_PORT") }}{{ end -}}
{{- toJson $names -}}
{{- end -}}

{{- define "llm-inference.engine.vllm.environment" -}}
- name: VLLM_CACHE_ROOT
  value: {{ include "llm-inference.engine.cacheRoot" . }}
{{- if not (hasKey .Values.engine.extraEnv "VLLM_NO_USAGE_STATS") }}
# No usage report to the engine's makers.
- name: VLLM_NO_USAGE_STATS
  value: "1"
{{- end }}
{{- $can := include "llm-inference.engine.can" (dict "root" . "ability" "startupPlan") -}}
{{- $cache := .Values.engine.compileCache -}}
{{- if and $cache.enabled $can (ne (toString $cache.startupPlan) "false") (not (hasKey .Values.engine.extraEnv "VLLM_ENABLE_STARTUP_PLAN")) }}
# Keeps the profiled size of the KV cache beside the compiled kernels: the next start does not measure it again.
- name: VLLM_ENABLE_STARTUP_PLAN
  value: "1"
{{- end }}
{{- with .Values.engine.apiKey.existingSecret }}
- name: VLLM_API_KEY
  valueFrom:
    secretKeyRef:
      name: {{ . | quote }}
      key: {{ $.Values.engine.apiKey.key | quote }}
{{- end }}
{{- end -}}
