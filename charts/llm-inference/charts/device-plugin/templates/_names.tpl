{{/* Name of the objects: `<release>-device-plugin` without dots, which Services may not have, cut so that a DaemonSet's pods (11 more characters) stay within 63. */}}
{{- define "device-plugin.name" -}}
{{- printf "%s-%s" (.Release.Name | replace "." "-" | trunc 38 | trimSuffix "-") .Chart.Name -}}
{{- end }}

{{- define "device-plugin.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "device-plugin.labels" -}}
{{ include "device-plugin.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: device-plugin
app.kubernetes.io/part-of: llm-inference
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* Image reference; a digest wins over the tag. */}}
{{- define "device-plugin.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag }}{{ end -}}
{{- end -}}
{{- end }}

{{- define "device-plugin.resources" -}}
requests:
  cpu: {{ .Values.resources.cpu | quote }}
  memory: {{ .Values.resources.memory }}
limits:
  memory: {{ .Values.resources.memory }}
{{- end }}
