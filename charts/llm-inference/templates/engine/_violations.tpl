{{- define "llm-inference.engine.violations" -}}
{{- end -}}
