{{/* Labels of monitors and rules: those of the chart and those a Prometheus selects by. */}}
{{- define "llm-inference.observability.labels" -}}
{{ include "llm-inference.labels" (dict "root" . "component" "monitoring") }}
{{- with .Values.observability.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}
