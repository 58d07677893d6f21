{{/* Name of the objects: `<release>-dcgm-exporter` without dots, which Services may not have, cut so that a DaemonSet's pods (11 more characters) stay within 63. */}}
{{- define "dcgm-exporter.name" -}}
{{- printf "%s-%s" (.Release.Name | replace "." "-" | trunc 38 | trimSuffix "-") .Chart.Name -}}
{{- end }}

{{- define "dcgm-exporter.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "dcgm-exporter.labels" -}}
{{ include "dcgm-exporter.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: gpu-metrics
app.kubernetes.io/part-of: llm-inference
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* Image reference; a digest wins over the tag. */}}
{{- define "dcgm-exporter.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag }}{{ end -}}
{{- end -}}
{{- end }}

{{/* The counters file. Without SYS_ADMIN it has no profiling counters: the exporter crashes over what it may not read. */}}
{{- define "dcgm-exporter.counters" -}}
{{- $counters := .Files.Get "files/counters.csv" | trim -}}
{{- if not (has "SYS_ADMIN" .Values.capabilities) -}}
{{-   $counters = regexReplaceAll "(?m)^DCGM_FI_PROF_.*\n" $counters "" -}}
{{- end -}}
{{ $counters }}
{{- with .Values.extraCounters }}

# From values.
{{ join "\n" . }}
{{- end }}
{{- end }}
