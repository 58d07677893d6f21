{{/*
What a model costs: prices of the instance types its replicas may run on, and what files/alerts/cost.yaml needs to know.
A node's type and capacity type are told by Karpenter's metrics, elsewhere by labels that kube-state-metrics must be let
to show; where there is but one price, nobody needs to tell.
*/}}

{{/* Hours of a month: 365.25 x 24 / 12, rounded. */}}
{{- define "llm-inference.cost.hoursPerMonth" -}}730{{- end -}}

{{/* "true" where this release records what its model costs. */}}
{{- define "llm-inference.cost.enabled" -}}
{{- if and .Values.engine.enabled .Values.observability.alerts.enabled .Values.observability.cost.enabled -}}
{{-   include "llm-inference.cost.priced" . -}}
{{- end -}}
{{- end -}}

{{/* "true" where every instance type has a price. */}}
{{- define "llm-inference.cost.priced" -}}
{{- $prices := include "llm-inference.cost.prices" . | fromJson -}}
{{- $missing := empty $prices -}}
{{- range $prices -}}{{- if not .dollars -}}{{- $missing = true -}}{{- end -}}{{- end -}}
{{- if not $missing -}}true{{- end -}}
{{- end -}}

{{/* Dollars per hour (0 unknown) and slices of an instance by its type, of all roles, as JSON. */}}
{{- define "llm-inference.cost.prices" -}}
{{- $prices := dict -}}
{{- range $context := .Roles | default (list .) -}}
{{-   range $type := $context.Values.nodes.instanceTypes -}}
{{-     $instance := get $context.Catalog.instances $type | default dict -}}
{{-     $gpu := get $context.Catalog.gpus (get $instance "gpu" | default "") | default dict -}}
{{-     $slices := 1 -}}
{{-     with $context.Values.engine.migProfile -}}
{{-       $slices = mul (dig "mig" (get $instance "gpuMemoryMebibytes" | default 0 | toString) . 1 $gpu) (get $instance "gpuCount" | default 1) -}}
{{-     end -}}
{{-     $own := get $context.Values.observability.cost.instanceDollarsPerHour $type -}}
{{-     $_ := set $prices $type (dict "dollars" ($own | default (get $instance "usdPerHour") | default 0.0) "slices" $slices) -}}
{{-   end -}}
{{- end -}}
{{- toJson $prices -}}
{{- end -}}

{{/* "true" where nodes tell their capacity type: by Karpenter's metrics, or by a label. */}}
{{- define "llm-inference.cost.capacityTypes" -}}
{{- if has .Values.nodes.provider (list "karpenter" "autoMode" "managedNodeGroup") -}}true{{- end -}}
{{- end -}}

{{/*
"true" where the price depends on the node: several types, or capacity types of which some are cheaper. With Karpenter the
node is always asked, which costs nothing and tells what is spot.
*/}}
{{- define "llm-inference.cost.severalPrices" -}}
{{- $factors := list -}}
{{- range values .Values.observability.cost.capacityPriceFactors -}}{{- $factors = append $factors (float64 .) -}}{{- end -}}
{{- $byCapacity := and (include "llm-inference.cost.capacityTypes" .) (gt (len (uniq $factors)) 1) -}}
{{- if or (eq .Values.nodes.provider "karpenter") $byCapacity (gt (len (include "llm-inference.cost.prices" . | fromJson)) 1) -}}true{{- end -}}
{{- end -}}

{{/* A series of value 1 for each node, with the labels node, instance_type and capacity_type (on-demand, spot, reserved). */}}
{{- define "llm-inference.cost.nodeTypes" -}}
{{- $series := "kube_node_labels{label_node_kubernetes_io_instance_type!=\"\"}" -}}
{{- $type := "label_node_kubernetes_io_instance_type" -}}
{{- if eq .Values.nodes.provider "karpenter" -}}
group by (node, instance_type, capacity_type) (label_replace(karpenter_nodes_allocatable{resource_type="{{ include "llm-inference.engine.gpuResource" . }}"} > 0, "node", "$1", "node_name", "(.+)"))
{{- else -}}
{{-   $series = printf "label_replace(label_replace(%s, \"instance_type\", \"$1\", \"%s\", \"(.+)\"), \"capacity_type\", \"on-demand\", \"\", \"\")" $series $type -}}
{{-   if eq .Values.nodes.provider "autoMode" -}}
{{-     $series = printf "label_replace(%s, \"capacity_type\", \"$1\", \"label_karpenter_sh_capacity_type\", \"(.+)\")" $series -}}
{{-   else if eq .Values.nodes.provider "managedNodeGroup" -}}
{{-     $label := "label_eks_amazonaws_com_capacity_type" -}}
{{-     $series = printf "label_replace(label_replace(%s, \"capacity_type\", \"spot\", \"%s\", \"SPOT\"), \"capacity_type\", \"reserved\", \"%s\", \"CAPACITY_BLOCK\")" $series $label $label -}}
{{-   end -}}
group by (node, instance_type, capacity_type) ({{ $series }})
{{- end -}}
{{- end -}}

{{/* What divides the price of a node into that of one GPU (or slice). */}}
{{- define "llm-inference.cost.perGpu" -}}
{{- $filter := include "llm-inference.cost.filter" . -}}
{{- if not .Values.engine.migProfile -}}
/ on (node) group_left () max by (node) (kube_node_status_allocatable{resource="nvidia_com_gpu"} > 0)
{{- else if include "llm-inference.cost.severalPrices" . -}}
/ on (instance_type) group_left () max by (instance_type) (llm_release_instance_slices{ {{- $filter -}} })
{{- else -}}
/ on () group_left () max(llm_release_instance_slices{ {{- $filter -}} })
{{- end -}}
{{- end -}}

{{/* Matchers of what this release records. */}}
{{- define "llm-inference.cost.filter" -}}
namespace="{{ .Release.Namespace }}",release="{{ include "llm-inference.sharedName" . }}"
{{- end -}}

{{/* What a prompt token costs of what a generated one does: by the speeds of a full replica, else a quarter, as providers' price lists have it. */}}
{{- define "llm-inference.cost.promptTokenWeight" -}}
{{- $weight := .Values.observability.cost.promptTokenWeight -}}
{{- if kindIs "invalid" $weight -}}
{{-   $speed := include "llm-inference.derive.speed" . | fromJson -}}
{{-   $weight = 0.25 -}}
{{-   if get $speed "prompt" -}}{{- $weight = divf (round (mulf 1000 (divf $speed.answer $speed.prompt)) 0) 1000 -}}{{- end -}}
{{- end -}}
{{- $weight -}}
{{- end -}}

{{/* What a replica costs, by the pod that answers: of a group, all of its pods together. */}}
{{- define "llm-inference.cost.byServer" -}}
{{- $series := printf "llm_replica_usd_per_hour{%s}" (include "llm-inference.cost.filter" .) -}}
{{- if .Values.multiNode.enabled -}}
sum by (namespace, pod) (label_replace({{ $series }}, "pod", "$1", "pod", "({{ include "llm-inference.engine.podPattern" . }})-[0-9]+"))
{{- else -}}
{{ $series }}
{{- end -}}
{{- end -}}

{{/* Placeholders of files/alerts/cost.yaml, as JSON. */}}
{{- define "llm-inference.cost.words" -}}
{{- $names := list -}}
{{- range .Roles | default (list .) -}}{{- $names = append $names (include "llm-inference.engine.name" .) -}}{{- end -}}
{{- $podsFilter := printf "namespace=\"%s\",pod=~\"(%s)-[0-9a-z]+-[0-9a-z]{5}\"" .Release.Namespace (join "|" $names) -}}
{{- /* Another release may serve the model under the same name, as during a change of revisions: the pods tell. */ -}}
{{- $filter := printf "%s,%s=\"%s\"" (include "llm-inference.observability.podFilter" .) .Catalog.engine.modelLabel .Derived.modelName -}}
{{- $answers := . -}}
{{- $promptFilter := $filter -}}
{{- $generationFilter := $filter -}}
{{- if .Roles -}}
{{- /* The replicas that make answers are handed prompts that others computed, and those make one token of each answer. */ -}}
{{-   $answers = last .Roles -}}
{{-   $promptFilter = include "llm-inference.observability.filter" (first .Roles) -}}
{{-   $generationFilter = include "llm-inference.observability.filter" $answers -}}
{{- else -}}
{{-   $podsFilter = include "llm-inference.observability.allPodsFilter" . -}}
{{- end -}}
{{- $own := list -}}
{{- if .Values.gateway.enabled -}}
{{-   range $name, $model := .Gateway.models -}}
{{-     range $target := $model.targets -}}
{{-       if eq $target.type "own" }}{{ $own = append $own (printf "%s[.]%s([.].+)?" ($name | replace "." "[.]") ($target.name | replace "." "[.]")) }}{{ end -}}
{{-     end -}}
{{-   end -}}
{{- end -}}
{{- dict
      "podsFilter" $podsFilter
      "gpuSeries" (include "llm-inference.engine.gpuResource" . | replace "." "_" | replace "/" "_" | replace "-" "_")
      "costByServer" (include "llm-inference.cost.byServer" .)
      "costFilter" (include "llm-inference.cost.filter" .)
      "promptFilter" $promptFilter
      "generationFilter" $generationFilter
      "nodeTypes" (include "llm-inference.cost.nodeTypes" .)
      "perGpu" (include "llm-inference.cost.perGpu" .)
      "promptTokenWeight" (include "llm-inference.cost.promptTokenWeight" $answers)
      "hoursPerMonth" (include "llm-inference.cost.hoursPerMonth" .)
      "monthlyBudget" .Values.observability.cost.monthlyBudgetDollars
      "ownTargets" (join "|" $own) | toJson -}}
{{- end -}}
