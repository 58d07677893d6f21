{{/* Contradictions in `multiNode`, and of other values with it. */}}
{{- define "llm-inference.multiNode.violations" -}}
{{- $messages := list -}}
{{- $group := .Values.multiNode -}}
{{- if not $group.enabled -}}
{{-   if $group.efa.enabled -}}
{{-     $messages = append $messages "[LLM019] multiNode.efa.enabled: adapters connect the nodes of a group, and multiNode.enabled is false; set that to true, or write false" -}}
{{-   end -}}
{{- else if not .Values.engine.enabled -}}
{{-   $messages = append $messages "[LLM016] multiNode.enabled: this release serves no model (engine.enabled is false); write false" -}}
{{- else -}}
{{-   $messages = concat $messages (include "llm-inference.multiNode.violations.sizes" . | fromJsonArray) (include "llm-inference.multiNode.violations.others" . | fromJsonArray) (include "llm-inference.multiNode.violations.placement" . | fromJsonArray) (include "llm-inference.multiNode.violations.efa" . | fromJsonArray) -}}
{{-   $messages = append $messages (include "llm-inference.prerequisite.violation" (dict "root" . "api" "leaderworkerset.x-k8s.io/v1/LeaderWorkerSet" "key" "multiNode.enabled")) -}}
{{- end -}}
{{- compact $messages | join "\n" -}}
{{- end -}}

{{/* Nodes and parallel sizes; a JSON list. */}}
{{- define "llm-inference.multiNode.violations.sizes" -}}
{{- $messages := list -}}
{{- $engine := .Values.engine -}}
{{- $nodes := int64 .Derived.nodesPerReplica -}}
{{- $gpus := int64 .Derived.gpusPerReplica -}}
{{- $each := int64 .Derived.gpusPerNode -}}
{{- $tensor := int64 $engine.tensorParallelSize -}}
{{- $ability := get .Catalog.engine.abilities "severalNodes" -}}
{{- if not (include "llm-inference.engine.since" (dict "root" . "facts" $ability)) -}}
{{-   $messages = append $messages (printf "[LLM019] multiNode.enabled: an engine over several nodes without Ray: %s; write a newer engine.version" (include "llm-inference.engine.lacking" (dict "root" . "facts" $ability))) -}}
{{- end -}}
{{- if eq $gpus 1 -}}
{{-   $messages = append $messages "[LLM017] engine.tensorParallelSize: the GPUs of a node are not known; name nodes.instanceTypes, or write tensorParallelSize and pipelineParallelSize" -}}
{{- else if ne (mod $gpus $nodes) 0 -}}
{{-   $messages = append $messages (printf "[LLM103] engine.tensorParallelSize: tensor %d x pipeline %d = %d GPUs are no equal parts for %d nodes; write 1 for both, which derives them, or sizes whose product is a multiple of %d" $tensor (int64 $engine.pipelineParallelSize) $gpus $nodes $nodes) -}}
{{- else if and (ne (mod $tensor $each) 0) (ne (mod $each $tensor) 0) -}}
{{-   $messages = append $messages (printf "[LLM103] engine.tensorParallelSize: groups of %d that share each layer do not lie evenly on nodes of %d GPUs; write %d, with pipelineParallelSize %d" $tensor $each $each $nodes) -}}
{{- end -}}
{{- toJson $messages -}}
{{- end -}}

{{/* What does not go with groups; a JSON list. */}}
{{- define "llm-inference.multiNode.violations.others" -}}
{{- $messages := list -}}
{{- if .Values.disaggregation.enabled -}}
{{-   $messages = append $messages "[LLM016] disaggregation.enabled: KV caches are handed over between replicas of one node each, and multiNode.enabled makes groups of nodes; write false for one of the two" -}}
{{- end -}}
{{- if .Values.engine.kvOffloadGibibytes -}}
{{-   $messages = append $messages "[LLM016] engine.kvOffloadGibibytes: how the host memory of several nodes is shared out is not documented; write 0" -}}
{{- end -}}
{{- if .Values.nodes.spareReplicas -}}
{{-   $messages = append $messages "[LLM361] nodes.spareReplicas: Karpenter fills no buffer for a LeaderWorkerSet; write 0, and a fixed count of nodes in a tier (nodes.tiers.<name>.nodes)" -}}
{{- end -}}
{{- toJson $messages -}}
{{- end -}}

{{/* Where the pods of a group may be; a JSON list. */}}
{{- define "llm-inference.multiNode.violations.placement" -}}
{{- $messages := list -}}
{{- $placement := .Values.multiNode.placement -}}
{{- $zones := .Values.nodes.zones -}}
{{- if not $placement.topologyKey -}}
{{-   if and (ne (len $zones) 1) (ne .Values.nodes.provider "existing") -}}
{{-     $messages = append $messages (printf "[LLM353] multiNode.placement.topologyKey: without it the pods of a group may land in different %s, and every token would travel between them; write topology.kubernetes.io/zone, or one of nodes.zones" (ternary "sites" "zones" (eq .Values.nodes.provider "hybrid"))) -}}
{{-   end -}}
{{-   if $placement.exclusive -}}
{{-     $messages = append $messages "[LLM019] multiNode.placement.exclusive: nothing says what a group is to have for itself; write topologyKey, or false" -}}
{{-   end -}}
{{- else if and $placement.exclusive $zones (eq $placement.topologyKey "topology.kubernetes.io/zone") -}}
{{-   $groups := add .Derived.maxReplicas .Derived.surgeReplicas -}}
{{-   if gt (int $groups) (len $zones) -}}
{{-     $messages = append $messages (printf "[LLM016] multiNode.placement.exclusive: each group takes a zone for itself, and %d groups, an update included, do not fit %d zones; write false, which keeps a group together all the same" (int $groups) (len $zones)) -}}
{{-   end -}}
{{- end -}}
{{- toJson $messages -}}
{{- end -}}

{{/* Elastic Fabric Adapter; a JSON list. */}}
{{- define "llm-inference.multiNode.violations.efa" -}}
{{- $messages := list -}}
{{- $efa := .Values.multiNode.efa -}}
{{- if not $efa.enabled -}}
{{-   if or $efa.interfaces $efa.hugePagesGibibytes -}}
{{-     $messages = append $messages (printf "[LLM019] multiNode.efa.%s: it has no effect while multiNode.efa.enabled is false; set that to true, or remove it" (ternary "interfaces" "hugePagesGibibytes" (not (empty $efa.interfaces)))) -}}
{{-   end -}}
{{- else -}}
{{-   if and (not $efa.interfaces) (not .Catalog.instances) -}}
{{-     $messages = append $messages "[LLM017] multiNode.efa.interfaces: how many adapters a node has is not known; name nodes.instanceTypes, or write the number" -}}
{{-   end -}}
{{-   range $type := .Catalog.instanceTypes -}}
{{-     $instance := get $.Catalog.instances $type -}}
{{-     if not (int $instance.efa) -}}
{{-       $messages = append $messages (printf "[LLM308] multiNode.efa.enabled: %s has no Elastic Fabric Adapter; remove it from nodes.instanceTypes, or write false" $type) -}}
{{-     else if gt (int ($efa.interfaces | default 0)) (int $instance.efa) -}}
{{-       $messages = append $messages (printf "[LLM308] multiNode.efa.interfaces: %s has %d adapters, not %d; write at most that, or null" $type (int $instance.efa) (int $efa.interfaces)) -}}
{{-     end -}}
{{-   end -}}
{{-   if or (not .Values.engine.image.repository) (eq .Values.engine.image.repository .Catalog.engine.image) -}}
{{-     $messages = append $messages (printf "[LLM016] engine.image.repository: %s has no libraries for the Elastic Fabric Adapter, so NCCL would use TCP and the adapters would stand idle; name an image that has aws-ofi-nccl" .Catalog.engine.image) -}}
{{-   end -}}
{{-   if and $efa.hugePagesGibibytes (has .Values.nodes.provider (list "karpenter" "autoMode")) -}}
{{-     $messages = append $messages "[LLM308] multiNode.efa.hugePagesGibibytes: Karpenter knows no hugepages-2Mi of any instance type and makes no node for such pods; write 0, or another nodes.provider" -}}
{{-   end -}}
{{- end -}}
{{- toJson $messages -}}
{{- end -}}
