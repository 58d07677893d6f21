{{/* "true" where this release scales a model. */}}
{{- define "llm-inference.autoscaling.enabled" -}}
{{- if and .Values.autoscaling.enabled .Values.engine.enabled -}}true{{- end -}}
{{- end -}}

{{/* Name of the TriggerAuthentication for Prometheus. */}}
{{- define "llm-inference.autoscaling.authentication.name" -}}
{{- include "llm-inference.sharedName" . }}-prometheus
{{- end -}}
