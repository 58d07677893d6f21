{{- define "llm-inference.security.violations" -}}
{{- end -}}
