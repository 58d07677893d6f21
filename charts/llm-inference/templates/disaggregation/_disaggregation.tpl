{{/*
Disaggregated serving: prompts are computed by one set of replicas, answers by another. A role is the same release with
other values: its context is the root context with a name of its own and the values of `disaggregation.<role>` laid over
the rest, so that every template renders a role as it renders a release.
*/}}

{{/*
Print a template for the release, or once for each of its roles: dict root, template. What roles share (weights, accounts,
node class) is rendered from the root context alone.
*/}}
{{- define "llm-inference.perRole" -}}
{{- $template := .template -}}
{{- if .root.Roles -}}
{{-   range .root.Roles }}
---
{{ include $template . }}
{{-   end -}}
{{- else -}}
{{-   include $template .root -}}
{{- end -}}
{{- end -}}

{{/* Sets `.Roles` of the root context: the contexts of its roles, an empty list without disaggregation. Prints nothing. */}}
{{- define "llm-inference.disaggregation.roles" -}}
{{- $roles := list -}}
{{- if and .Values.disaggregation.enabled .Values.engine.enabled -}}
{{-   range $role := list "prefill" "decode" -}}
{{-     $values := merge (include "llm-inference.disaggregation.values" (dict "root" $ "role" $role) | fromYaml) (deepCopy $.Values) -}}
{{- /* `merge` takes 0 for absent. */ -}}
{{-     $_ := set $values.autoscaling "minReplicas" (get $.Values.disaggregation $role).minReplicas -}}
{{-     $context := dict "Values" $values "Role" $role "SharedName" (include "llm-inference.fullname" $)
          "Release" $.Release "Chart" $.Chart "Capabilities" $.Capabilities "Files" $.Files "Template" $.Template -}}
{{-     include "llm-inference.derive.numbers" $context -}}
{{-     $roles = append $roles $context -}}
{{-   end -}}
{{- end -}}
{{- $_ := set . "Roles" $roles -}}
{{- end -}}

{{/* What a role lays over the values, as YAML: dict root, role. */}}
{{- define "llm-inference.disaggregation.values" -}}
{{- $values := .root.Values -}}
{{- $given := get $values.disaggregation .role -}}
{{- $shared := include "llm-inference.fullname" .root -}}
{{- $pool := $values.nodes.poolName | default $shared -}}
{{- if $given.poolName -}}{{- $pool = $given.poolName -}}
{{- else if $values.nodes.create -}}{{- $pool = printf "%s-%s" $pool .role -}}
{{- end -}}
{{- $engine := dict "replicas" $given.replicas -}}
{{- range list "tensorParallelSize" "maxNumSeqs" "maxNumBatchedTokens" "gpuMemoryUtilization" -}}
{{-   if not (kindIs "invalid" (get $given .)) -}}{{- $_ := set $engine . (get $given .) -}}{{- end -}}
{{- end -}}
{{- $signals := dict -}}
{{- if eq .role "prefill" -}}
{{-   $signals = dict
        "queuedPrompts" (dict "enabled" true "targetSeconds" $given.queueSeconds)
        "timeToFirstToken" (dict "enabled" true "targetSeconds" $given.timeToFirstTokenSeconds) -}}
{{- else -}}
{{-   $signals = dict
        "kvCache" (dict "enabled" true "targetPercent" $given.kvCachePercent)
        "interTokenLatency" (dict "enabled" true "targetMilliseconds" $given.interTokenMilliseconds) -}}
{{- end -}}
{{- $autoscaling := dict "maxReplicas" $given.maxReplicas "signals" $signals -}}
{{- if not (kindIs "invalid" $given.targetPerReplica) -}}{{- $_ := set $autoscaling "targetPerReplica" $given.targetPerReplica -}}{{- end -}}
{{- $nodes := dict "poolName" $pool -}}
{{- if not (kindIs "invalid" $given.instanceTypes) -}}{{- $_ := set $nodes "instanceTypes" $given.instanceTypes -}}{{- end -}}
{{- dict
      "fullnameOverride" (printf "%s-%s" (include "llm-inference.name.shortened" (dict "name" $shared "length" 38)) .role)
      "engine" $engine
      "autoscaling" $autoscaling
      "nodes" $nodes | toYaml -}}
{{- end -}}

{{/* What the engine of a role is told, as a JSON list. */}}
{{- define "llm-inference.disaggregation.arguments" -}}
{{- $arguments := list -}}
{{- if hasKey . "Role" -}}
{{-   $connector := get .Catalog.engine.kvConnectors .Values.disaggregation.connector -}}
{{-   $configuration := dict "kv_connector" $connector.word "kv_role" (ternary "kv_producer" "kv_consumer" (eq .Role "prefill")) -}}
{{-   $arguments = list "--kv-transfer-config" (toJson $configuration) -}}
{{- end -}}
{{- toJson $arguments -}}
{{- end -}}

{{/* Environment of a role's engine, as a YAML list. */}}
{{- define "llm-inference.disaggregation.environment" -}}
{{- if hasKey . "Role" }}
# Where other replicas ask how this one's KV cache lies in memory; its default is localhost.
- name: VLLM_NIXL_SIDE_CHANNEL_HOST
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
- name: VLLM_NIXL_SIDE_CHANNEL_PORT
  value: {{ int64 .Values.disaggregation.sideChannelPort | quote }}
{{- end }}
{{- end -}}

{{/*
Traffic between the roles, as a rule of a NetworkPolicy: dict root, direction (from, to). Beside the side channel, the
transfer library listens on ports of its own choosing.
*/}}
{{- define "llm-inference.disaggregation.peers" -}}
# KV caches: the side channel, and the ports that the transfer itself listens on, which cannot be told beforehand.
- {{ .direction }}:
    - podSelector:
        matchLabels:
          app.kubernetes.io/name: {{ include "llm-inference.name" .root }}
          app.kubernetes.io/instance: {{ .root.Release.Name }}
          app.kubernetes.io/component: engine
  ports:
    - port: 1024
      endPort: 65535
      protocol: TCP
{{- end -}}
