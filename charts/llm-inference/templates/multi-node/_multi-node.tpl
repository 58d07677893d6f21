{{/*
Replicas over several nodes. A replica is then a group of pods, one per node, which a LeaderWorkerSet makes: the first
one, its leader, answers requests, the others compute with it. Both are the engine's pod; what differs is decided by
`GroupPart` of the context (`leader`, `worker`; absent without groups).
*/}}

{{/* Nodes of a replica. */}}
{{- define "llm-inference.multiNode.nodes" -}}
{{- ternary .Values.multiNode.nodes 1 .Values.multiNode.enabled | int64 | max 1 -}}
{{- end -}}

{{/*
Parallel sizes of a group where values leave both at 1: the GPUs of a node share each layer, which needs their fast
connection, and the nodes hold successive layers. Sets them in the values; prints nothing.
*/}}
{{- define "llm-inference.multiNode.sizes" -}}
{{- $engine := .Values.engine -}}
{{- if and .Values.multiNode.enabled (eq (int64 $engine.tensorParallelSize) 1) (eq (int64 $engine.pipelineParallelSize) 1) -}}
{{-   $gpus := 0 -}}
{{-   range $_, $instance := .Catalog.instances -}}
{{-     if or (not $gpus) (lt (int64 $instance.gpuCount) (int64 $gpus)) -}}{{- $gpus = int64 $instance.gpuCount -}}{{- end -}}
{{-   end -}}
{{-   if $gpus -}}
{{-     $_ := set $engine "tensorParallelSize" $gpus -}}
{{-     $_ := set $engine "pipelineParallelSize" (include "llm-inference.multiNode.nodes" . | int64) -}}
{{-   end -}}
{{- end -}}
{{- end -}}

{{/* "true" in the pods of a group that answer no requests. */}}
{{- define "llm-inference.multiNode.worker" -}}
{{- if eq (get . "GroupPart" | default "") "worker" -}}true{{- end -}}
{{- end -}}

{{/*
What the engine of a group is told, as a JSON list. The kubelet fills in what LeaderWorkerSet's webhook adds to the
environment. Nodes come up minutes apart: those that are there wait for the others as long as the startup probe does.
*/}}
{{- define "llm-inference.multiNode.arguments" -}}
{{- $arguments := list -}}
{{- if .Values.multiNode.enabled -}}
{{-   $sglang := eq .Values.engine.type "sglang" -}}
{{-   $arguments = list "--nnodes" (toString .Derived.nodesPerReplica) "--node-rank" "$(LWS_WORKER_INDEX)" -}}
{{-   $port := int64 .Catalog.engine.rendezvousPort -}}
{{-   if $sglang -}}
{{-     $arguments = concat $arguments (list "--dist-init-addr" (printf "$(LWS_LEADER_ADDRESS):%d" $port)) -}}
{{-   else -}}
{{-     $arguments = concat $arguments (list "--master-addr" "$(LWS_LEADER_ADDRESS)" "--master-port" (toString $port)) -}}
{{-   end -}}
{{-   if include "llm-inference.engine.can" (dict "root" . "ability" "distributedTimeout") -}}
{{-     $arguments = concat $arguments (list (ternary "--dist-timeout" "--distributed-timeout-seconds" $sglang) (toString .Derived.startupBudgetSeconds)) -}}
{{-   end -}}
{{- /* SGLang tells by the rank which of its servers answers. */ -}}
{{-   if and (include "llm-inference.multiNode.worker" .) (not $sglang) -}}{{- $arguments = append $arguments "--headless" -}}{{- end -}}
{{- end -}}
{{- toJson $arguments -}}
{{- end -}}

{{/* Options that `engine.extraArgs` may not repeat in a group, as a JSON list. */}}
{{- define "llm-inference.multiNode.generatedOptions" -}}
{{- if .Values.multiNode.enabled -}}
["--nnodes", "-n", "--node-rank", "-r", "--master-addr", "--master-port", "--headless", "--distributed-timeout-seconds", "--dist-init-addr", "--nccl-init-addr", "--dist-timeout"]
{{- else -}}
[]
{{- end -}}
{{- end -}}

{{/* Environment of a group's engine, as a YAML list. */}}
{{- define "llm-inference.multiNode.environment" -}}
{{- if .Values.multiNode.enabled }}
{{- if eq .Values.engine.type "vllm" }}
# The address that the others of the group reach this pod by, whatever interfaces the node has.
- name: VLLM_HOST_IP
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
{{- end }}
{{- if .Values.multiNode.efa.enabled }}
# Let the library behind NCCL use the Elastic Fabric Adapter, and no huge pages unless the pod has some.
- name: FI_PROVIDER
  value: efa
{{- if not .Values.multiNode.efa.hugePagesGibibytes }}
- name: FI_EFA_USE_HUGE_PAGE
  value: "0"
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Variables that `engine.extraEnv` may not repeat in a group, as a JSON list. */}}
{{- define "llm-inference.multiNode.generatedVariables" -}}
{{- $names := list -}}
{{- if .Values.multiNode.enabled -}}
{{-   $names = list "LWS_LEADER_ADDRESS" "LWS_GROUP_SIZE" "LWS_WORKER_INDEX" -}}
{{-   if .Values.multiNode.efa.enabled -}}{{- $names = concat $names (list "FI_PROVIDER" "FI_EFA_USE_HUGE_PAGE") -}}{{- end -}}
{{- end -}}
{{- toJson $names -}}
{{- end -}}

{{/* Network adapters that a pod of a group asks for: the value, else all that every instance type has. */}}
{{- define "llm-inference.multiNode.efaInterfaces" -}}
{{- $efa := .Values.multiNode.efa -}}
{{- $count := 0 -}}
{{- if and .Values.multiNode.enabled $efa.enabled -}}
{{-   if $efa.interfaces -}}
{{-     $count = $efa.interfaces -}}
{{-   else -}}
{{-     $first := true -}}
{{-     range $_, $instance := .Catalog.instances -}}
{{-       if or $first (lt (int64 $instance.efa) (int64 $count)) -}}{{- $count = $instance.efa -}}{{- end -}}
{{-       $first = false -}}
{{-     end -}}
{{-   end -}}
{{- end -}}
{{- int64 $count -}}
{{- end -}}

{{/* Resources of a group's pods beside GPUs, as YAML. Neither can be had without a limit. */}}
{{- define "llm-inference.multiNode.resources" -}}
{{- if and .Values.multiNode.enabled .Values.multiNode.efa.enabled }}
vpc.amazonaws.com/efa: {{ include "llm-inference.multiNode.efaInterfaces" . }}
{{- with .Values.multiNode.efa.hugePagesGibibytes }}
hugepages-2Mi: {{ int64 . }}Gi
{{- end }}
{{- end }}
{{- end -}}

{{/* Label whose value is the same for all pods of a group and for no others. */}}
{{- define "llm-inference.multiNode.groupLabel" -}}
leaderworkerset.sigs.k8s.io/group-key
{{- end -}}

{{/*
Affinity among the pods of a group, as YAML. With `exclusive`, LeaderWorkerSet adds its own, which also keeps other
groups away.
*/}}
{{- define "llm-inference.multiNode.affinity" -}}
{{- $placement := .Values.multiNode.placement -}}
{{- if and .Values.multiNode.enabled $placement.topologyKey (not $placement.exclusive) }}
podAffinity:
  requiredDuringSchedulingIgnoredDuringExecution:
    # Every token crosses the network between these pods.
    - topologyKey: {{ $placement.topologyKey }}
      labelSelector:
        matchLabels:
          {{- include "llm-inference.selectorLabels" (dict "root" . "component" "engine") | nindent 10 }}
      matchLabelKeys: [{{ include "llm-inference.multiNode.groupLabel" . }}]
{{- end }}
{{- end -}}

{{/*
What a pod that only computes does before it is told to stop, as a YAML list of words: it stays while its leader's server
is there, which computes with it until the last answer is whole.
*/}}
{{- define "llm-inference.multiNode.stay" -}}
- python3
- -c
- |
  {{- .Files.Get "files/engine/stay.py" | trim | nindent 2 }}
- {{ int64 .Values.engine.port | quote }}
- {{ int64 .Catalog.engine.rendezvousPort | quote }}
- {{ add .Derived.preStopSeconds .Values.engine.drainSeconds | quote }}
{{- end -}}

{{/* Traffic within a group, as a rule of a NetworkPolicy: dict root, direction (from, to). */}}
{{- define "llm-inference.multiNode.peers" -}}
# The rest of the group, on all ports: NCCL and the engine listen on some of their own choosing.
- {{ .direction }}:
    - podSelector:
        matchLabels:
          {{- include "llm-inference.selectorLabels" (dict "root" .root "component" "engine") | nindent 10 }}
{{- end -}}
