{{/* Chart name and version as a label value. */}}
{{- define "llm-inference.chart" -}}
{{- printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/*
Labels that select the pods of a component: dict root, component. They never change over a release's life
(Deployment selectors are immutable) and never catch another component's pods.
*/}}
{{- define "llm-inference.selectorLabels" -}}
app.kubernetes.io/name: {{ include "llm-inference.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- if and (eq .component "engine") (hasKey .root "Role") }}
llm-inference.io/role: {{ .root.Role }}
{{- end }}
{{- end -}}

{{/* Labels that select the engine's pods that answer requests: all of them, or of a group the leader. */}}
{{- define "llm-inference.servingLabels" -}}
{{ include "llm-inference.selectorLabels" (dict "root" . "component" "engine") }}
{{- if .Values.multiNode.enabled }}
leaderworkerset.sigs.k8s.io/worker-index: "0"
{{- end }}
{{- end -}}

{{/* Labels of an object: dict root, component, and version where it is not the engine's. */}}
{{- define "llm-inference.labels" -}}
{{ include "llm-inference.selectorLabels" . }}
app.kubernetes.io/part-of: llm-inference
app.kubernetes.io/version: {{ get . "version" | default .root.Derived.engineVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ include "llm-inference.chart" .root }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}
