{{/*
LiteLLM's config.yaml. Every tier of a model is a model group of its own: the first has the model's name, the others are
its fallbacks in their order. Within a tier requests are shared by weight.

A target is never asked twice for one request: a retry would ask what just failed, while the next tier waits. A stream
that has begun is never repeated (LiteLLM falls over only before the first token); it ends with an error event.
*/}}
{{- define "llm-inference.gateway.litellm" -}}
{{- $values := .Values.gateway -}}
{{- $failover := $values.failover -}}
{{- $targets := list -}}
{{- $fallbacks := list -}}
{{- $mostTiers := 1 -}}
{{- $checked := false -}}
{{- range $name, $model := .Gateway.models -}}
{{-   $tiers := include "llm-inference.gateway.tiers" $model.targets | fromJsonArray -}}
{{-   $mostTiers = max $mostTiers (len $tiers) -}}
{{-   $further := list -}}
{{-   range $index, $tier := $tiers -}}
{{-     $group := include "llm-inference.gateway.group" (dict "model" $name "index" $index) -}}
{{-     $peers := 0 -}}
{{-     if $index }}{{ $further = append $further $group }}{{ end -}}
{{-     range $target := $model.targets -}}
{{-       if eq (int $target.tier) (int $tier) -}}
{{-         $peers = add1 $peers -}}
{{-       end -}}
{{-     end -}}
{{-     range $target := $model.targets -}}
{{-       if eq (int $target.tier) (int $tier) -}}
{{-         if $target.healthCheck }}{{ $checked = true }}{{ end -}}
{{-         $targets = append $targets (include "llm-inference.gateway.litellm.target" (dict "root" $ "model" $name "group" $group "target" $target "policy" (and (eq (int $peers) 1) (lt (add1 $index) (len $tiers)))) | fromYaml) -}}
{{-       end -}}
{{-     end -}}
{{-   end -}}
{{-   if $further }}{{ $fallbacks = append $fallbacks (dict $name $further) }}{{ end -}}
{{- /* A class is the first tier again, with the priority for the engine; what falls over is in no class. */ -}}
{{-   range $class, $settings := $values.classes -}}
{{-     $own := list -}}
{{-     range $target := $model.targets -}}
{{-       if and (eq $target.type "own") (eq (int $target.tier) (int (first $tiers))) }}{{ $own = append $own $target }}{{ end -}}
{{-     end -}}
{{-     if $own -}}
{{-       $group := printf "%s-%s" $name $class -}}
{{-       range $target := $own -}}
{{-         $targets = append $targets (include "llm-inference.gateway.litellm.target" (dict "root" $ "model" $name "group" $group "target" $target "policy" (gt (len $tiers) 1) "class" $class "priority" (int $settings.priority)) | fromYaml) -}}
{{-       end -}}
{{-       if $further }}{{ $fallbacks = append $fallbacks (dict $group $further) }}{{ end -}}
{{-     end -}}
{{-   end -}}
{{- end -}}
{{- $general := dict "master_key" "os.environ/LITELLM_MASTER_KEY" -}}
{{- if $checked -}}
{{-   $_ := set $general "background_health_checks" true -}}
{{-   $_ := set $general "health_check_interval" (int64 $failover.healthCheckSeconds) -}}
{{- end -}}
{{- if $values.teams }}{{ $_ := set $general "custom_auth" "teams.authenticate" }}{{ end -}}
{{- $router := dict
      "routing_strategy" "simple-shuffle"
      "num_retries" 0
      "max_fallbacks" $mostTiers
      "cooldown_time" (int64 $failover.cooldownSeconds)
      "fallbacks" $fallbacks -}}
{{- if $checked }}{{ $_ := set $router "enable_health_check_routing" true }}{{ end -}}
{{- $callbacks := list "prometheus" -}}
{{- if $values.langfuse.existingSecret }}{{ $callbacks = append $callbacks "langfuse" }}{{ end -}}
{{- if $values.database.existingSecret }}{{ $_ := set $general "database_url" "os.environ/DATABASE_URL" }}{{ end -}}
{{- $text := toYaml (dict
      "model_list" $targets
      "litellm_settings" (dict
        "callbacks" $callbacks
        "prometheus_exclude_labels" (list "client_ip" "user_agent")
        "num_retries" 0
        "request_timeout" .Gateway.answerSeconds
        "json_logs" true
        "drop_params" true
        "require_auth_for_metrics_endpoint" false)
      "router_settings" $router
      "general_settings" $general) -}}
{{- /* 6e-08 is a number for Go and a string for PyYAML, which wants a dot. */ -}}
{{- regexReplaceAll "(?m): ([0-9]+)e-([0-9]+)$" $text ": ${1}.0e-${2}" -}}
{{- end -}}

{{/* Name of the group of a model's tier: dict model, index (0 is the first). */}}
{{- define "llm-inference.gateway.group" -}}
{{ .model }}{{ if .index }}-tier-{{ add1 .index }}{{ end }}
{{- end -}}

{{/* An entry of model_list: dict root, model, group, target, policy (whether failures are counted), and class with its priority. Prices of the values are per million tokens. */}}
{{- define "llm-inference.gateway.litellm.target" -}}
{{- $failover := .root.Values.gateway.failover -}}
{{- $target := .target -}}
{{- $parameters := dict
      "weight" (int64 $target.weight)
      "max_retries" 0
      "timeout" .root.Gateway.answerSeconds
      "stream_timeout" (int64 $failover.timeoutSeconds)
      "input_cost_per_token" (divf (float64 $target.inputDollarsPerMillionTokens) 1000000.0)
      "output_cost_per_token" (divf (float64 $target.outputDollarsPerMillionTokens) 1000000.0) -}}
{{- if eq $target.type "bedrock" -}}
{{-   $_ := set $parameters "model" (printf "bedrock/%s" $target.model) -}}
{{-   $_ := set $parameters "aws_region_name" $target.region -}}
{{- else -}}
{{-   $_ := set $parameters "model" (printf "openai/%s" $target.model) -}}
{{-   $_ := set $parameters "api_base" $target.url -}}
{{-   $key := "none" -}}
{{-   if $target.existingSecret }}{{ $key = printf "os.environ/%s" (include "llm-inference.gateway.keyVariable" (dict "target" $target)) }}{{ end -}}
{{-   $_ := set $parameters "api_key" $key -}}
{{- end -}}
{{- $information := dict
      "id" (printf "%s.%s" .model $target.name)
      "disable_background_health_check" (not $target.healthCheck) -}}
{{- if .policy -}}
{{- /* LiteLLM never leaves a target without peers alone, unless a policy names the errors that count. The last tier is always asked. */ -}}
{{-   $allowed := int64 $failover.allowedFails -}}
{{-   $_ := set $information "allowed_fails_policy" (dict
        "InternalServerErrorAllowedFails" $allowed
        "BadGatewayErrorAllowedFails" $allowed
        "ServiceUnavailableErrorAllowedFails" $allowed
        "TimeoutErrorAllowedFails" $allowed) -}}
{{- end -}}
{{- if hasKey . "class" -}}
{{-   $_ := set $parameters "extra_body" (dict "priority" .priority) -}}
{{-   $_ := set $information "id" (printf "%s.%s.%s" .model $target.name .class) -}}
{{- end -}}
{{- toYaml (dict "model_name" .group "litellm_params" $parameters "model_info" $information) -}}
{{- end -}}

{{/* Command line. The image's entrypoint is the proxy. */}}
{{- define "llm-inference.gateway.litellm.arguments" -}}
- "--config"
- "{{ .Gateway.directory }}/{{ .Gateway.file }}"
- "--port"
- "{{ .Gateway.port }}"
{{- end -}}

{{- define "llm-inference.gateway.litellm.environment" -}}
- name: LITELLM_MASTER_KEY
  valueFrom:
    secretKeyRef:
      name: {{ .Values.gateway.masterKey.existingSecret | quote }}
      key: {{ .Values.gateway.masterKey.key | quote }}
# The price list of its release, not one from the internet at every start.
- name: LITELLM_LOCAL_MODEL_COST_MAP
  value: "True"
# The configuration is this release's; the page that edits it stays off.
- name: DISABLE_ADMIN_UI
  value: "True"
# An engine closes a connection that was idle for 5 seconds (uvicorn's default, which vLLM and SGLang have): one that is
# kept longer is used just then, and the request is lost. Left before, it is not.
- name: AIOHTTP_KEEPALIVE_TIMEOUT
  value: "2"
# The same towards clients: a load balancer keeps connections for 60 seconds (AWS' Application Load Balancer, ingress-nginx).
- name: KEEPALIVE_TIMEOUT
  value: "75"
# Share of failures from which one target among several is left alone.
- name: DEFAULT_FAILURE_THRESHOLD_PERCENT
  value: {{ divf (float64 .Values.gateway.failover.errorRatePercent) 100.0 | quote }}
- name: HOME
  value: /tmp
{{- with .Values.gateway.database }}
{{- if .existingSecret }}
- name: DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ .existingSecret | quote }}
      key: {{ .key | quote }}
{{- end }}
{{- end }}
{{- with .Values.gateway.langfuse }}
{{- if .existingSecret }}
- name: LANGFUSE_HOST
  value: {{ .host | quote }}
- name: LANGFUSE_PUBLIC_KEY
  valueFrom:
    secretKeyRef:
      name: {{ .existingSecret | quote }}
      key: public-key
- name: LANGFUSE_SECRET_KEY
  valueFrom:
    secretKeyRef:
      name: {{ .existingSecret | quote }}
      key: secret-key
{{- end }}
{{- end }}
{{- end -}}

{{/* What wakes this release's model; nothing where no target is its engine. */}}
{{- define "llm-inference.gateway.litellm.wake" -}}
{{- with include "llm-inference.gateway.ownNames" . -}}
{{- $matchers := printf "%s,requested_model=~\"%s\"" (include "llm-inference.gateway.filter" $) . -}}
{{- include "llm-inference.gateway.wakeOf" (dict "root" $ "series" (list
      (printf "litellm_deployment_total_requests_total{%s}" $matchers)
      (printf "litellm_deployment_successful_fallbacks_total{%s}" $matchers))) -}}
{{- end -}}
{{- end -}}
