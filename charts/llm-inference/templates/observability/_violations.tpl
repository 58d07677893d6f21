{{/* Contradictions in `observability`, one per line. */}}
{{- define "llm-inference.observability.violations" -}}
{{- $values := .Values.observability -}}
{{- $apis := list -}}
{{- if and .Values.engine.enabled (eq $values.monitoring "serviceMonitor") -}}
{{-   $apis = append $apis (dict "key" "observability.monitoring" "api" "monitoring.coreos.com/v1/ServiceMonitor") -}}
{{- end -}}
{{- if and .Values.engine.enabled (eq $values.monitoring "podMonitor") -}}
{{-   $apis = append $apis (dict "key" "observability.monitoring" "api" "monitoring.coreos.com/v1/PodMonitor") -}}
{{- end -}}
{{- if and .Values.engine.enabled $values.alerts.enabled -}}
{{-   $apis = append $apis (dict "key" "observability.alerts.enabled" "api" "monitoring.coreos.com/v1/PrometheusRule") -}}
{{- end -}}
{{- if $values.platformAlerts.enabled -}}
{{-   $apis = append $apis (dict "key" "observability.platformAlerts.enabled" "api" "monitoring.coreos.com/v1/PrometheusRule") -}}
{{- end -}}
{{- range $apis }}
{{ include "llm-inference.prerequisite.violation" (dict "root" $ "api" .api "key" .key) }}
{{- end }}
{{- range $name := list "endToEndSeconds" "waitingRequests" "failedPercent" -}}
{{-   $threshold := get $values.alerts $name -}}
{{-   if ge (float64 $threshold.warning) (float64 $threshold.critical) }}
[LLM016] observability.alerts.{{ $name }}: the warning ({{ $threshold.warning }}) is not below what pages ({{ $threshold.critical }}); lower `warning`, or raise `critical`
{{-   end -}}
{{- end -}}
{{- end -}}
