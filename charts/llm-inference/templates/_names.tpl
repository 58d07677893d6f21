{{/*
Names of objects. Every name of this chart is made here and nowhere else.

Budget: KEDA names its HPA `keda-hpa-<ScaledObject>`, and the longest suffix that this chart adds to the full
name is `-weights-populate-<8 characters>` (26). Kubernetes allows 63 for what becomes a label value (Job names
become one): 63 - 9 = 54 bounds the first, and 46 leaves room for short suffixes; Jobs shorten the full name further.
*/}}

{{/* Chart name in object names. */}}
{{- define "llm-inference.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Cut a name to `length` characters; what is cut is replaced by a hash, so that two long names never become one. */}}
{{- define "llm-inference.name.shortened" -}}
{{- if gt (len .name) (int .length) -}}
{{- printf "%s-%s" (.name | trunc (int (sub .length 9)) | trimSuffix "-" | trimSuffix ".") (.name | sha256sum | trunc 8) -}}
{{- else -}}
{{- .name -}}
{{- end -}}
{{- end -}}

{{/* Full name: of the engine's Deployment, Service, ScaledObject; prefix of all other names. At most 46 characters. */}}
{{- define "llm-inference.fullname" -}}
{{- $name := .Values.fullnameOverride -}}
{{- if not $name -}}
{{-   $chart := include "llm-inference.name" . -}}
{{-   $name = ternary .Release.Name (printf "%s-%s" .Release.Name $chart) (contains $chart .Release.Name) -}}
{{- end -}}
{{- include "llm-inference.name.shortened" (dict "name" $name "length" 46) -}}
{{- end -}}

{{/* Name of what the roles of a disaggregated release share: the full name without a role's suffix. */}}
{{- define "llm-inference.sharedName" -}}
{{- get . "SharedName" | default (include "llm-inference.fullname" .) -}}
{{- end -}}

{{/* Name of the engine's Deployment, or LeaderWorkerSet; the autoscaler's target. */}}
{{- define "llm-inference.engine.name" -}}
{{- include "llm-inference.fullname" . -}}
{{- end -}}

{{/* What that is, as YAML: apiVersion, kind, name. */}}
{{- define "llm-inference.engine.target" -}}
apiVersion: {{ ternary "leaderworkerset.x-k8s.io/v1" "apps/v1" .Values.multiNode.enabled }}
kind: {{ ternary "LeaderWorkerSet" "Deployment" .Values.multiNode.enabled }}
name: {{ include "llm-inference.engine.name" . | quote }}
{{- end -}}

{{/*
Names of the engine's pods that answer requests, as a regular expression. LeaderWorkerSet numbers its groups, whose
leader is `<name>-<group>`, and the others of a group behind that.
*/}}
{{- define "llm-inference.engine.podPattern" -}}
{{ include "llm-inference.engine.name" . }}-{{ ternary "[0-9]+" "[0-9a-z]+-[0-9a-z]{5}" .Values.multiNode.enabled }}
{{- end -}}

{{/* Names of all of the engine's pods. */}}
{{- define "llm-inference.engine.allPodsPattern" -}}
{{ include "llm-inference.engine.podPattern" . }}{{ ternary "(-[0-9]+)?" "" .Values.multiNode.enabled }}
{{- end -}}

{{/*
Series of kube-state-metrics with the replicas that are ready. A LeaderWorkerSet's leaders are those of a StatefulSet of
its name, and a leader is ready when its whole group is.
*/}}
{{- define "llm-inference.engine.readyReplicas" -}}
{{- $kind := ternary "statefulset" "deployment" .Values.multiNode.enabled -}}
kube_{{ $kind }}_status_replicas_ready{namespace="{{ .Release.Namespace }}",{{ $kind }}="{{ include "llm-inference.engine.name" . }}"}
{{- end -}}

{{/* Series with the replicas that there should be. */}}
{{- define "llm-inference.engine.wantedReplicas" -}}
{{- $name := ternary "kube_statefulset_replicas" "kube_deployment_spec_replicas" .Values.multiNode.enabled -}}
{{ $name }}{namespace="{{ .Release.Namespace }}",{{ ternary "statefulset" "deployment" .Values.multiNode.enabled }}="{{ include "llm-inference.engine.name" . }}"}
{{- end -}}

{{/* Name of the engine's Service. */}}
{{- define "llm-inference.engine.service" -}}
{{- include "llm-inference.fullname" . -}}
{{- end -}}

{{/* Name of the gateway's Deployment, Service, ConfigMap. */}}
{{- define "llm-inference.gateway.name" -}}
{{- include "llm-inference.sharedName" . }}-gateway
{{- end -}}

{{/* Name of the ServiceAccount of engine and weights pods. */}}
{{- define "llm-inference.serviceAccount.name" -}}
{{- .Values.serviceAccount.name | default (ternary (include "llm-inference.sharedName" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{/* Name of the ServiceAccount of the gateway's pods. */}}
{{- define "llm-inference.gateway.serviceAccount.name" -}}
{{- .Values.gateway.serviceAccount.name | default (ternary (include "llm-inference.gateway.name" .) "default" .Values.gateway.serviceAccount.create) -}}
{{- end -}}

{{/* Name of the node pool: value of the label that ties pods and nodes together. */}}
{{- define "llm-inference.pool.name" -}}
{{- .Values.nodes.poolName | default (include "llm-inference.fullname" .) -}}
{{- end -}}

{{/* Key of that label. */}}
{{- define "llm-inference.pool.label" -}}
llm-inference.io/pool
{{- end -}}

{{/* Name of the ConfigMap with the weights script. */}}
{{- define "llm-inference.weights.script" -}}
{{- include "llm-inference.sharedName" . }}-weights
{{- end -}}

{{/* Name of the claim that holds the weights (delivery `volume`). */}}
{{- define "llm-inference.weights.claim" -}}
{{- .Values.weights.volume.existingClaim | default (printf "%s-weights" (include "llm-inference.sharedName" .)) -}}
{{- end -}}

{{/*
Name of a weights Job: dict root, task, content. Jobs are immutable, so the name carries a hash of what the Job does;
a Job whose work did not change keeps its name, and an upgrade leaves it alone.
*/}}
{{- define "llm-inference.weights.job" -}}
{{- $prefix := include "llm-inference.name.shortened" (dict "name" (include "llm-inference.sharedName" .root) "length" 36) -}}
{{- printf "%s-weights-%s-%s" $prefix .task (.content | sha256sum | trunc 8) -}}
{{- end -}}
