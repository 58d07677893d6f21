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
{{- $cost := $values.cost -}}
{{- if $cost.monthlyBudgetDollars -}}
{{-   if not (and .Values.engine.enabled $values.alerts.enabled $cost.enabled) }}
[LLM019] observability.cost.monthlyBudgetDollars: nothing tells when it is exceeded; write observability.alerts.enabled and observability.cost.enabled true in the release of the model, or no budget
{{-   else if not (include "llm-inference.cost.priced" .) }}
[LLM017] observability.cost.monthlyBudgetDollars: no price is known of the nodes; name them in nodes.instanceTypes, and what they cost in observability.cost.instanceDollarsPerHour
{{-   end -}}
{{- end -}}
{{- $prices := include "llm-inference.cost.prices" . | fromJson -}}
{{- range $type, $_ := $cost.instanceDollarsPerHour -}}
{{-   if not (hasKey $prices $type) }}
[LLM019] observability.cost.instanceDollarsPerHour: no replica runs on {{ $type }}; name it in nodes.instanceTypes, or leave its price out
{{-   end -}}
{{- end -}}
{{- end -}}
