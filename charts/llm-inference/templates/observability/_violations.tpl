{{- define "llm-inference.observability.violations" -}}
{{- end -}}
