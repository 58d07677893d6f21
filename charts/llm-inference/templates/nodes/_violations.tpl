{{- define "llm-inference.nodes.violations" -}}
{{- end -}}
