{{/*
Bifrost's config.json, without database: everything is in this file, and all replicas read the same. Every target is a
provider of its own, `<model>.<target>`, which speaks OpenAI's API (or Amazon Bedrock's). A routing rule for each model
shares its requests among the targets of the first tier; those of the other tiers are the fallbacks, in their order.
No target is asked twice for one request. The master key and those of teams are its virtual keys.
*/}}
{{- define "llm-inference.gateway.bifrost" -}}
{{- $providers := dict -}}
{{- $allowed := list -}}
{{- $rules := list -}}
{{- range $name, $model := .Gateway.models -}}
{{-   $tiers := include "llm-inference.gateway.tiers" $model.targets | fromJsonArray -}}
{{-   $total := 0 -}}
{{-   range $target := $model.targets -}}
{{-     if eq (int $target.tier) (int (first $tiers)) }}{{ $total = add $total (int64 $target.weight) }}{{ end -}}
{{-   end -}}
{{-   $shares := list -}}
{{-   $fallbacks := list -}}
{{-   range $index, $tier := $tiers -}}
{{-     range $target := $model.targets -}}
{{-       if eq (int $target.tier) (int $tier) -}}
{{-         $id := include "llm-inference.gateway.bifrost.provider" (dict "model" $name "target" $target) -}}
{{-         $_ := set $providers $id (include "llm-inference.gateway.bifrost.target" (dict "root" $ "id" $id "target" $target) | fromJson) -}}
{{-         $allowed = append $allowed (dict "provider" $id "allowed_models" (list "*") "key_ids" (list "*")) -}}
{{-         if $index -}}
{{-           $fallbacks = append $fallbacks (printf "%s/%s" $id $target.model) -}}
{{-         else if or (not $total) (int64 $target.weight) -}}
{{- /* Shares add up to 1; all of weight 0 are alike. */ -}}
{{-           $share := divf 1 (len $model.targets) -}}
{{-           if $total }}{{ $share = divf (float64 $target.weight) (float64 $total) }}{{ end -}}
{{-           $shares = append $shares (dict "provider" $id "model" $target.model "weight" $share) -}}
{{-         end -}}
{{-       end -}}
{{-     end -}}
{{-   end -}}
{{-   $rules = append $rules (dict
        "id" $name
        "name" $name
        "enabled" true
        "cel_expression" (printf "model == %s" (toJson $name))
        "targets" $shares
        "fallbacks" $fallbacks
        "scope" "global"
        "priority" (len $rules)) -}}
{{- end -}}
{{- $teams := list -}}
{{- $keys := list (dict "id" "master" "name" "master" "value" "env.GATEWAY_MASTER_KEY" "is_active" true "provider_configs" $allowed) -}}
{{- range $team, $_ := .Values.gateway.teams -}}
{{-   $teams = append $teams (dict "id" $team "name" $team) -}}
{{-   $keys = append $keys (dict "id" (printf "team-%s" $team) "name" $team "value" (printf "env.%s" (include "llm-inference.gateway.teamVariable" $team)) "is_active" true "team_id" $team "provider_configs" $allowed) -}}
{{- end -}}
{{- dict
      "$schema" "https://www.getbifrost.ai/schema"
      "client" (dict
        "enforce_auth_on_inference" true
        "allow_direct_keys" false
        "enable_logging" false
        "disable_content_logging" true
        "drop_excess_requests" false)
      "config_store" (dict "enabled" false)
      "logs_store" (dict "enabled" false)
      "providers" $providers
      "governance" (dict
        "teams" $teams
        "virtual_keys" $keys
        "routing_rules" $rules) | toPrettyJson -}}
{{- end -}}

{{/* Name of a target's provider, the label `provider` of its metrics: dict model, target. */}}
{{- define "llm-inference.gateway.bifrost.provider" -}}
{{ .model }}.{{ .target.name }}
{{- end -}}

{{/* A provider, as JSON: dict root, id, target. */}}
{{- define "llm-inference.gateway.bifrost.target" -}}
{{- $failover := .root.Values.gateway.failover -}}
{{- $target := .target -}}
{{- $network := dict
      "default_request_timeout_in_seconds" (int64 .root.Gateway.answerSeconds)
      "stream_idle_timeout_in_seconds" (int64 $failover.timeoutSeconds)
      "max_retries" 0 -}}
{{- $key := dict "name" .id "models" (list "*") "weight" 1 -}}
{{- if eq $target.type "bedrock" -}}
{{- /* Without keys it takes the pods' role, as the AWS SDK finds it. */ -}}
{{-   $_ := merge $key (dict "value" "" "bedrock_key_config" (dict "region" $target.region)) -}}
{{- else -}}
{{-   $_ := merge $network (dict "base_url" ($target.url | trimSuffix "/" | trimSuffix "/v1") "allow_private_network" true) -}}
{{- /* It never asks with a provider that has no key; engines without one do not look at what is sent. */ -}}
{{-   $_ := set $key "value" "none" -}}
{{-   if $target.existingSecret }}{{ $_ := set $key "value" (printf "env.%s" (include "llm-inference.gateway.keyVariable" (dict "target" $target))) }}{{ end -}}
{{- end -}}
{{- dict
      "keys" (list $key)
      "network_config" $network
      "custom_provider_config" (dict "base_provider_type" (ternary "bedrock" "openai" (eq $target.type "bedrock"))) | toJson -}}
{{- end -}}

{{/* The image's entrypoint reads variables instead. */}}
{{- define "llm-inference.gateway.bifrost.arguments" -}}{{- end -}}

{{- define "llm-inference.gateway.bifrost.environment" -}}
- name: GATEWAY_MASTER_KEY
  valueFrom:
    secretKeyRef:
      name: {{ .Values.gateway.masterKey.existingSecret | quote }}
      key: {{ .Values.gateway.masterKey.key | quote }}
- name: APP_DIR
  value: {{ .Gateway.directory }}
- name: APP_HOST
  value: 0.0.0.0
- name: APP_PORT
  value: {{ .Gateway.port | quote }}
- name: LOG_STYLE
  value: json
- name: HOME
  value: /tmp
{{- end -}}

{{/* What wakes this release's model: whatever was asked of a provider that is its engine, also where it failed. */}}
{{- define "llm-inference.gateway.bifrost.wake" -}}
{{- $own := list -}}
{{- range $name, $model := .Gateway.models -}}
{{-   range $target := $model.targets -}}
{{-     if eq $target.type "own" }}{{ $own = append $own (include "llm-inference.gateway.bifrost.provider" (dict "model" $name "target" $target) | replace "." "[.]") }}{{ end -}}
{{-   end -}}
{{- end -}}
{{- if $own -}}
{{- include "llm-inference.gateway.wakeOf" (dict "root" $ "series" (list (printf "bifrost_upstream_requests_total{%s,provider=~\"%s\"}" (include "llm-inference.gateway.filter" .) (join "|" $own)))) -}}
{{- end -}}
{{- end -}}

{{/* What Bifrost does not do, as a JSON list of refusals. */}}
{{- define "llm-inference.gateway.bifrost.violations" -}}
{{- $gateway := .Values.gateway -}}
{{- $messages := list -}}
{{- if $gateway.classes -}}
{{-   $messages = append $messages "[LLM016] gateway.classes: Bifrost adds no priority to a request; write gateway.type litellm, or no classes" -}}
{{- end -}}
{{- if $gateway.database.existingSecret -}}
{{-   $messages = append $messages "[LLM016] gateway.database.existingSecret: with Bifrost the configuration is a file, which every replica reads; write gateway.type litellm, or no database" -}}
{{- end -}}
{{- if $gateway.langfuse.existingSecret -}}
{{-   $messages = append $messages "[LLM016] gateway.langfuse.existingSecret: the chart connects LiteLLM with Langfuse only; write gateway.type litellm, or no Secret" -}}
{{- end -}}
{{- range $key, $default := dict "errorRatePercent" 10 "allowedFails" 5 "cooldownSeconds" 10 -}}
{{-   if ne (float64 (get $gateway.failover $key)) (float64 $default) -}}
{{-     $messages = append $messages (printf "[LLM019] gateway.failover.%s: Bifrost leaves no target alone, it asks the next for each request that fails; remove it, or write gateway.type litellm" $key) -}}
{{-   end -}}
{{- end -}}
{{- if lt (int64 $gateway.failover.timeoutSeconds) 5 -}}
{{-   $messages = append $messages "[LLM145] gateway.failover.timeoutSeconds: Bifrost takes 5 s at least; write 5 or more" -}}
{{- end -}}
{{- range $name, $model := .Gateway.models -}}
{{-   if contains "/" $name -}}
{{-     $messages = append $messages (printf "[LLM016] gateway.models.%s: Bifrost takes what is before a slash for a provider; write a name without (and engine.servedModelName)" $name) -}}
{{-   end -}}
{{-   range $target := $model.targets -}}
{{-     if $target.healthCheck -}}
{{-       $messages = append $messages (printf "[LLM019] gateway.models.%s.targets.%s: Bifrost sends no health requests; remove healthCheck" $name $target.name) -}}
{{-     end -}}
{{-     if and (eq $target.type "openai") $target.url (not (hasSuffix "/v1" (trimSuffix "/" $target.url))) -}}
{{-       $messages = append $messages (printf "[LLM016] gateway.models.%s.targets.%s: Bifrost asks below /v1 of an address; write a url that ends so" $name $target.name) -}}
{{-     end -}}
{{-     if or $target.inputDollarsPerMillionTokens $target.outputDollarsPerMillionTokens -}}
{{-       $messages = append $messages (printf "[LLM019] gateway.models.%s.targets.%s: Bifrost has a price list of its own; remove the prices, or write gateway.type litellm" $name $target.name) -}}
{{-     end -}}
{{-   end -}}
{{- end -}}
{{- toJson $messages -}}
{{- end -}}
