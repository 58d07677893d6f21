{{/*
What the node templates share. The pool's name and label come from _names.tpl, instance facts from _catalog.tpl.
*/}}

{{/* "true" where this release makes NodePools. */}}
{{- define "llm-inference.nodes.pools.enabled" -}}
{{- if and .Values.nodes.create (has .Values.nodes.provider (list "karpenter" "autoMode")) -}}true{{- end -}}
{{- end -}}

{{/* "true" where this release makes a node class: an EC2NodeClass, or in EKS Auto Mode a NodeClass. */}}
{{- define "llm-inference.nodes.class.enabled" -}}
{{- if and .Values.nodes.nodeClass.create (has .Values.nodes.provider (list "karpenter" "autoMode")) -}}true{{- end -}}
{{- end -}}

{{/* The node class of the pools as YAML: the one that values name, else the one this release makes. */}}
{{- define "llm-inference.nodes.classRef" -}}
{{- $named := .Values.nodes.nodeClassRef -}}
{{- $autoMode := eq .Values.nodes.provider "autoMode" -}}
group: {{ $named.group | default (ternary "eks.amazonaws.com" "karpenter.k8s.aws" $autoMode) | quote }}
kind: {{ $named.kind | default (ternary "NodeClass" "EC2NodeClass" $autoMode) | quote }}
name: {{ $named.name | default (include "llm-inference.nodes.class.name" .) | quote }}
{{- end -}}

{{/*
Operating system family of the nodes, which decides how fast images are pulled; empty where nothing is known. Auto Mode
runs Bottlerocket with parallel pull on GPU instances (https://docs.aws.amazon.com/eks/latest/userguide/auto-accelerated.html).
*/}}
{{- define "llm-inference.nodes.family" -}}
{{- if eq .Values.nodes.provider "autoMode" -}}
bottlerocket
{{- else if has .Values.nodes.provider (list "karpenter" "managedNodeGroup") -}}
{{- .Values.nodes.nodeClass.family -}}
{{- end -}}
{{- end -}}

{{/* The label that EKS puts on hybrid nodes, and on no other. */}}
{{- define "llm-inference.nodes.hybridLabel" -}}
eks.amazonaws.com/compute-type: hybrid
{{- end -}}

{{/* Labels and taints of nodes that others make, one `label <key>=<value>` or `taint <key>=<value>:<effect>` per line. */}}
{{- define "llm-inference.nodes.ofOthers" -}}
{{- range $key, $value := include "llm-inference.nodes.labelsOfOthers" . | fromYaml }}
label {{ $key }}={{ $value }}
{{- end }}
{{- range $key, $taint := .Values.nodes.taints }}
taint {{ $key }}{{ with $taint.value }}={{ . }}{{ end }}:{{ $taint.effect }}
{{- end }}
{{- end -}}

{{/* Those labels as YAML. Device plugin and exporter look for nvidia.com/gpu.present. */}}
{{- define "llm-inference.nodes.labelsOfOthers" -}}
{{- merge (dict (include "llm-inference.pool.label" .) (include "llm-inference.pool.name" .)) .Values.nodes.labels (dict "nvidia.com/gpu.present" "true") | toYaml -}}
{{- end -}}

{{/* Zones that pods keep to, as a JSON list: those of the values, unless pools of this chart see to it. */}}
{{- define "llm-inference.nodes.podZones" -}}
{{- ternary (list) .Values.nodes.zones (has .Values.nodes.provider (list "karpenter" "autoMode")) | toJson -}}
{{- end -}}

{{/* Age at which nodes are replaced: the value, else 30 days, or in Auto Mode, which ends nodes after 21 days, 14. */}}
{{- define "llm-inference.nodes.expireAfter" -}}
{{- .Values.nodes.expireAfter | default (ternary "336h" "720h" (eq .Values.nodes.provider "autoMode")) -}}
{{- end -}}

{{/* Name of the node class this release makes. */}}
{{- define "llm-inference.nodes.class.name" -}}
{{- .Values.nodes.nodeClass.name | default (include "llm-inference.sharedName" .) -}}
{{- end -}}

{{/*
`capacityReservationSelectorTerms` of the node class as a YAML list, empty where values select none. Auto Mode calls the
account that owns a reservation `owner`, Karpenter `ownerID`.
*/}}
{{- define "llm-inference.nodes.class.reservations" -}}
{{- $ownerKey := ternary "owner" "ownerID" (eq .Values.nodes.provider "autoMode") -}}
{{- $terms := list -}}
{{- range .Values.nodes.nodeClass.capacityReservations -}}
{{-   $term := omit . "ownerId" -}}
{{-   with .ownerId }}{{ $_ := set $term $ownerKey . }}{{ end -}}
{{-   $terms = append $terms $term -}}
{{- end -}}
{{- with $terms }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{/* Names of the enabled tiers that may use reserved capacity, as a JSON list. */}}
{{- define "llm-inference.nodes.reservedTiers" -}}
{{- $tiers := list -}}
{{- range $tier, $settings := .Values.nodes.tiers -}}
{{-   if and $settings.enabled (has "reserved" $settings.capacityTypes) }}{{ $tiers = append $tiers $tier }}{{ end -}}
{{- end -}}
{{- toJson $tiers -}}
{{- end -}}

{{/* Facts about operating systems and volumes, read once per render: `.NodeFacts` of the root context. */}}
{{- define "llm-inference.nodes.facts" -}}
{{- if not (hasKey . "NodeFacts") -}}
{{-   $_ := set . "NodeFacts" (.Files.Get "files/catalog/operating-systems.yaml" | fromYaml) -}}
{{- end -}}
{{- end -}}

{{/* Version of the AMI: the value, else the one the catalog pins for the family. */}}
{{- define "llm-inference.nodes.class.amiVersion" -}}
{{- include "llm-inference.nodes.facts" . -}}
{{- .Values.nodes.nodeClass.amiVersion | default (get (get .NodeFacts.operatingSystems .Values.nodes.nodeClass.family) "amiVersion") -}}
{{- end -}}

{{/*
The same as a semantic version, for comparisons: AL2023 counts by date, which padded to three parts compares alike.
Empty where it is no version of the family.
*/}}
{{- define "llm-inference.nodes.class.comparableVersion" -}}
{{- $version := include "llm-inference.nodes.class.amiVersion" . -}}
{{- $system := get .NodeFacts.operatingSystems .Values.nodes.nodeClass.family -}}
{{- if regexMatch $system.versionPattern $version -}}
{{-   $bare := trimPrefix "v" $version -}}
{{-   ternary $bare (printf "%s.0.0" $bare) (contains "." $bare) -}}
{{- end -}}
{{- end -}}

{{/* Newest NVIDIA driver branch of the node image. */}}
{{- define "llm-inference.nodes.class.driver" -}}
{{- include "llm-inference.nodes.facts" . -}}
{{- $system := get .NodeFacts.operatingSystems .Values.nodes.nodeClass.family -}}
{{- $version := include "llm-inference.nodes.class.comparableVersion" . -}}
{{- if and $version (semverCompare (printf ">=%s" $system.newerDriver.since) $version) -}}
{{-   int $system.newerDriver.branch -}}
{{- else -}}
{{-   int $system.driver -}}
{{- end -}}
{{- end -}}

{{/*
"true" where every instance type of the pools has NVMe disks that RAID0 makes the place of images, logs and emptyDirs.
*/}}
{{- define "llm-inference.nodes.localDisks" -}}
{{- include "llm-inference.catalog" . -}}
{{- $without := list -}}
{{- range $name, $instance := .Catalog.instances -}}
{{-   if le (int $instance.nvmeGigabytes) 0 }}{{ $without = append $without $name }}{{ end -}}
{{- end -}}
{{- /* Auto Mode decides by itself: it takes the disks only where ephemeralStorage is at least as large as they are. */ -}}
{{- if and .Values.nodes.nodeClass.instanceStoreRaid0 (ne .Values.nodes.provider "autoMode") .Catalog.instances (not $without) -}}true{{- end -}}
{{- end -}}

{{/*
Least GiB of the volume that holds images and pods: the engine's image unpacked, weights that a pod downloads to local
disk, and 20 GiB for the system's own images, logs and headroom below the image collection's threshold.
*/}}
{{- define "llm-inference.nodes.dataVolume.leastGibibytes" -}}
{{- include "llm-inference.derive" . -}}
{{- include "llm-inference.nodes.facts" . -}}
{{- $bytes := mulf 1e9 (float64 .Derived.imageGigabytes) (float64 .NodeFacts.imageUnpackFactor) -}}
{{- $gibibytes := ceil (divf $bytes 1073741824) | int -}}
{{- if .Values.engine.enabled -}}
{{-   $gibibytes = add $gibibytes (ternary .Derived.downloadGibibytes .Derived.additionsGibibytes (eq .Values.weights.delivery "initDownload")) -}}
{{- end -}}
{{- add 20 $gibibytes -}}
{{- end -}}

{{/*
The data volume as JSON: size, iops, throughput. What values leave open is derived: with local disks for everything the
volume only boots the node (50 GiB, gp3's least figures); without, it holds image and weights and is as fast as the
slowest instance type can read, up to gp3's most.
*/}}
{{- define "llm-inference.nodes.dataVolume" -}}
{{- include "llm-inference.catalog" . -}}
{{- include "llm-inference.nodes.facts" . -}}
{{- $gp3 := .NodeFacts.gp3 -}}
{{- $given := .Values.nodes.nodeClass.dataVolume -}}
{{- $local := include "llm-inference.nodes.localDisks" . -}}
{{- $size := $given.size -}}
{{- if not $size -}}
{{-   $least := include "llm-inference.nodes.dataVolume.leastGibibytes" . | int -}}
{{-   $size = printf "%dGi" (ternary 50 (max 100 (mul 10 (div (add $least 9) 10))) (not (empty $local)) | int) -}}
{{- end -}}
{{- $throughput := $given.throughputMebibytesPerSecond -}}
{{- if not $throughput -}}
{{-   if or $local (not .Catalog.instances) -}}
{{-     $throughput = $gp3.leastThroughputMebibytesPerSecond -}}
{{-   else -}}
{{-     $throughput = $gp3.mostThroughputMebibytesPerSecond -}}
{{-     range $_, $instance := .Catalog.instances -}}
{{-       $throughput = min $throughput (floor (divf (mulf (float64 $instance.ebsMbps) 125000) 1048576)) -}}
{{-     end -}}
{{-   end -}}
{{- end -}}
{{- $iops := $given.iops | default (max $gp3.leastIops (ceil (divf (float64 $throughput) (float64 $gp3.throughputPerIops)))) -}}
{{- dict "size" $size "iops" (int $iops) "throughput" (int $throughput) | toJson -}}
{{- end -}}

{{/* Seconds of a duration of hours, minutes and seconds (`1h30m`), as Karpenter writes them; empty for anything else. */}}
{{- define "llm-inference.nodes.seconds" -}}
{{- if regexMatch "^([0-9]+(s|m|h))+$" . -}}
{{-   $seconds := 0 -}}
{{-   range regexFindAll "[0-9]+[smh]" . -1 -}}
{{-     $unit := get (dict "s" 1 "m" 60 "h" 3600) (regexFind "[smh]$" .) -}}
{{-     $seconds = add $seconds (mul $unit (regexFind "^[0-9]+" . | int64)) -}}
{{-   end -}}
{{-   $seconds -}}
{{- end -}}
{{- end -}}

{{/* How long a node may drain: the pods' own grace period and 5 minutes for their eviction. */}}
{{- define "llm-inference.nodes.terminationGracePeriod" -}}
{{- include "llm-inference.derive" . -}}
{{- .Values.nodes.terminationGracePeriod | default (printf "%ds" (add .Derived.gracePeriodSeconds 300)) -}}
{{- end -}}

{{/* GPUs of the most replicas of this release, its rolling update included. */}}
{{- define "llm-inference.nodes.gpusNeeded" -}}
{{- include "llm-inference.derive" . -}}
{{- mul (add .Derived.maxReplicas .Derived.surgeReplicas) .Derived.gpusPerReplica -}}
{{- end -}}

{{/* Most GPUs of one pool: the value, else what this release needs, in whole instances of the largest type. */}}
{{- define "llm-inference.nodes.gpuLimit" -}}
{{- include "llm-inference.derive" . -}}
{{- if .Values.nodes.gpuLimit -}}
{{-   .Values.nodes.gpuLimit -}}
{{- else -}}
{{-   $largest := 1 -}}
{{-   range $_, $instance := .Catalog.instances }}{{ $largest = max $largest $instance.gpuCount }}{{ end -}}
{{-   $needed := include "llm-inference.nodes.gpusNeeded" . | int64 -}}
{{-   mul $largest (div (add $needed $largest -1) $largest) -}}
{{- end -}}
{{- end -}}
