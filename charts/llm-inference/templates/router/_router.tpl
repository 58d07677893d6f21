{{/*
The router in front of the roles (vllm-project/router): it has each prompt computed by a prefill replica, hands where its
KV cache lies to a decode replica, and passes on what that answers. It finds the replicas by watching their pods.
*/}}

{{- define "llm-inference.router.enabled" -}}
{{- if .Roles -}}true{{- end -}}
{{- end -}}

{{/* Name of the router's objects but its Service, which has the name of the release: clients need not know of the roles. */}}
{{- define "llm-inference.router.name" -}}
{{- include "llm-inference.fullname" . }}-router
{{- end -}}

{{/* Image of the router, behind the pull-through prefix where one is set. A digest wins over the tag. */}}
{{- define "llm-inference.router.image" -}}
{{- $image := .Values.disaggregation.router.image -}}
{{- $prefix := trimSuffix "/" .Values.nodes.imagePrefix -}}
{{- $repository := ternary (printf "%s/%s" $prefix $image.repository) $image.repository (not (empty $prefix)) -}}
{{- if $image.digest -}}
{{ $repository }}@{{ $image.digest }}
{{- else -}}
{{ $repository }}:{{ $image.tag }}
{{- end -}}
{{- end -}}

{{/* Labels of a role's pods as `key=value` words, as a JSON list: dict root, role. */}}
{{- define "llm-inference.router.selector" -}}
{{- $words := list -}}
{{- range .root.Roles -}}
{{-   if eq .Role $.role -}}
{{-     range $key, $value := include "llm-inference.selectorLabels" (dict "root" . "component" "engine") | fromYaml -}}
{{-       $words = append $words (printf "%s=%s" $key $value) -}}
{{-     end -}}
{{-   end -}}
{{- end -}}
{{- toJson $words -}}
{{- end -}}

{{/* Arguments as a JSON list. Spellings are those that the image's binary and the Python launcher share. */}}
{{- define "llm-inference.router.arguments" -}}
{{- $router := .Values.disaggregation.router -}}
{{- $arguments := list
      "--host" "0.0.0.0"
      "--port" (toString (int64 $router.port))
      "--vllm-pd-disaggregation"
      "--kv-connector" .Values.disaggregation.connector
      "--service-discovery"
      "--service-discovery-namespace" .Release.Namespace
      "--service-discovery-port" (toString (int64 .Values.engine.port))
      "--prefill-policy" $router.prefillPolicy
      "--decode-policy" $router.decodePolicy
      "--request-timeout-secs" (toString (int64 $router.requestTimeoutSeconds))
      "--health-check-interval-secs" "15"
      "--prometheus-host" "0.0.0.0"
      "--prometheus-port" (toString (int64 $router.metricsPort)) -}}
{{- range $role := list "prefill" "decode" -}}
{{-   $arguments = concat $arguments (list (printf "--%s-selector" $role)) (include "llm-inference.router.selector" (dict "root" $ "role" $role) | fromJsonArray) -}}
{{- end -}}
{{- toJson $arguments -}}
{{- end -}}

{{/* Readiness needs a replica of each role. Where they may be at zero that would hold back every rollout: it need only listen. */}}
{{- define "llm-inference.router.readyPath" -}}
{{- $zero := and .Values.autoscaling.enabled (eq (int64 .Values.disaggregation.prefill.minReplicas) 0) -}}
{{- ternary "/liveness" "/readiness" $zero -}}
{{- end -}}
