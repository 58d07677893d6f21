{{- define "llm-inference.weights.violations" -}}
{{- end -}}
