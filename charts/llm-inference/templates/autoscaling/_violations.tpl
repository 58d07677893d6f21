{{- define "llm-inference.autoscaling.violations" -}}
{{- end -}}
