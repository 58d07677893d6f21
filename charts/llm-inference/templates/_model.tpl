{{- define "llm-inference.model.violations" -}}
{{- end -}}
