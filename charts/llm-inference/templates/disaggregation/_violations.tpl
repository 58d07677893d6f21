{{/* Contradictions in `disaggregation`. Those of a role's own values are found by the components, in the role's context. */}}
{{- define "llm-inference.disaggregation.violations" -}}
{{- $messages := list -}}
{{- $given := .Values.disaggregation -}}
{{- if and $given.enabled (not .Values.engine.enabled) -}}
{{-   $messages = append $messages "[LLM016] disaggregation.enabled: this release serves no model (engine.enabled is false); write false" -}}
{{- else if $given.enabled -}}
{{-   $engine := .Values.engine -}}
{{-   $connector := get .Catalog.engine.kvConnectors $given.connector | default dict -}}
{{-   if ne $engine.type "vllm" -}}
{{-     $messages = append $messages (printf "[LLM016] disaggregation.enabled: the roles and the router are those of vLLM, engine.type is %s; write vllm, or false" $engine.type) -}}
{{-   else if not (include "llm-inference.engine.since" (dict "root" . "facts" $connector)) -}}
{{-     $messages = append $messages (printf "[LLM019] disaggregation.connector: `%s`: %s; write a newer engine.version" $given.connector (include "llm-inference.engine.lacking" (dict "root" . "facts" $connector))) -}}
{{-   end -}}
{{-   if ne $engine.task "generate" -}}
{{-     $messages = append $messages (printf "[LLM016] disaggregation.enabled: a model with engine.task %s has no decode phase; write false" $engine.task) -}}
{{-   end -}}
{{-   if $engine.kvOffloadGibibytes -}}
{{-     $messages = append $messages "[LLM016] engine.kvOffloadGibibytes: it is a KV connector too, and an engine has one; write 0" -}}
{{-   end -}}
{{-   if $engine.apiKey.existingSecret -}}
{{-     $messages = append $messages "[LLM016] engine.apiKey.existingSecret: the router hands no client's key on to the roles, which would refuse every request; remove it, and let security.networkPolicy or a gateway keep others out" -}}
{{-   end -}}
{{-   if gt (int64 $engine.pipelineParallelSize) 1 -}}
{{-     $messages = append $messages "[LLM016] engine.pipelineParallelSize: KV caches are handed over between replicas of one stage; write 1, and a larger tensorParallelSize" -}}
{{-   end -}}
{{-   if ne (int64 $engine.replicas) 1 -}}
{{-     $messages = append $messages "[LLM019] engine.replicas: each role has its own; write disaggregation.prefill.replicas and disaggregation.decode.replicas" -}}
{{-   end -}}
{{-   if eq (int64 $engine.port) (int64 $given.sideChannelPort) -}}
{{-     $messages = append $messages (printf "[LLM016] disaggregation.sideChannelPort: %d is the port of the HTTP server; write another, e.g. 5600" (int64 $given.sideChannelPort)) -}}
{{-   end -}}
{{-   if eq (int64 $given.router.port) (int64 $given.router.metricsPort) -}}
{{-     $messages = append $messages (printf "[LLM016] disaggregation.router.metricsPort: %d is the port that requests come to; write another, e.g. 29000" (int64 $given.router.metricsPort)) -}}
{{-   end -}}
{{-   if has $given.router.image.tag (list "latest" "main" "nightly") -}}
{{-     $messages = append $messages (printf "[LLM007] disaggregation.router.image.tag: `%s` moves, so replicas would differ; write a version" $given.router.image.tag) -}}
{{-   end -}}
{{-   if .Values.autoscaling.enabled -}}
{{-     range $role := list "prefill" "decode" -}}
{{-       if ne (int64 (get $given $role).replicas) 1 -}}
{{-         $messages = append $messages (printf "[LLM019] disaggregation.%s.replicas: %d has no effect, autoscaling decides; write disaggregation.%s.minReplicas" $role (int64 (get $given $role).replicas) $role) -}}
{{-       end -}}
{{-     end -}}
{{-     if or (ne (int64 .Values.autoscaling.minReplicas) 1) (ne (int64 .Values.autoscaling.maxReplicas) 4) -}}
{{-       $messages = append $messages "[LLM019] autoscaling.maxReplicas: each role has its own bounds; write them in disaggregation.prefill and disaggregation.decode, and leave minReplicas 1 and maxReplicas 4 here" -}}
{{-     end -}}
{{-     if .Values.autoscaling.formula -}}
{{-       $messages = append $messages "[LLM016] autoscaling.formula: the roles scale by different signals, which one formula cannot say; remove it" -}}
{{-     end -}}
{{-     if ne (eq (int64 $given.prefill.minReplicas) 0) (eq (int64 $given.decode.minReplicas) 0) -}}
{{-       $messages = append $messages "[LLM016] disaggregation.prefill.minReplicas: a role alone answers nothing, and while one is at zero the other waits for it; write 0 for both (with autoscaling.wake.query), or 1 for both" -}}
{{-     end -}}
{{-   end -}}
{{- end -}}
{{- compact $messages | join "\n" -}}
{{- end -}}
