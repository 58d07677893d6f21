{{/* Annotations on the engine's pods by which Prometheus finds them (`observability.monitoring: annotations`). */}}
{{- define "llm-inference.observability.podAnnotations" -}}
{{- if eq .Values.observability.monitoring "annotations" -}}
prometheus.io/scrape: "true"
prometheus.io/port: {{ int64 .Values.engine.port | quote }}
prometheus.io/path: {{ .Catalog.engine.metricsPath }}
{{- end -}}
{{- end -}}
