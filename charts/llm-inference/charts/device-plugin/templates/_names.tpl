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

{{/*
Configuration of the plugin. The resource keeps its name when it is shared: pods, pools and limits know nvidia.com/gpu only.
Two shares of one GPU are no more than one, so that nobody may ask for them.
*/}}
{{- define "device-plugin.config" -}}
version: v1
flags:
  migStrategy: {{ .Values.migStrategy }}
  # On a node whose driver is not up yet, stop and be restarted instead of serving no GPU for ever.
  failOnInitError: true
{{- if gt (int .Values.timeSlicing.replicas) 1 }}
sharing:
  timeSlicing:
    renameByDefault: false
    failRequestsGreaterThanOne: true
    resources:
      - name: nvidia.com/gpu
        replicas: {{ .Values.timeSlicing.replicas }}
{{- end }}
{{- end }}
