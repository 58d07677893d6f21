{{/* Contradictions in `nodes`, and of the GPU subcharts with them. */}}
{{- define "llm-inference.nodes.violations" -}}
{{- $messages := list -}}
{{- $nodes := .Values.nodes -}}
{{- $autoMode := eq $nodes.provider "autoMode" -}}
{{- if and (not (has $nodes.provider (list "karpenter" "autoMode"))) (or $nodes.create $nodes.nodeClass.create) -}}
{{-   $messages = append $messages (printf "[LLM016] nodes.provider: `%s` makes no nodes, while nodes.create or nodes.nodeClass.create asks for them; write karpenter or autoMode, or false for both" $nodes.provider) -}}
{{- end -}}
{{- if and (eq $nodes.provider "karpenter") (eq (toString $nodes.nodeClassRef.group) "eks.amazonaws.com") -}}
{{-   $messages = append $messages "[LLM352] nodes.nodeClassRef.group: a node class of EKS Auto Mode, while nodes.provider is karpenter; write nodes.provider autoMode" -}}
{{- end -}}
{{- if $nodes.spareReplicas -}}
{{-   if not .Values.engine.enabled -}}
{{-     $messages = append $messages "[LLM016] nodes.spareReplicas: this release has no model whose replicas a node could stand ready for; write it in the model's release" -}}
{{-   else if $autoMode -}}
{{-     $messages = append $messages "[LLM352] nodes.spareReplicas: EKS Auto Mode has no capacity buffers; write 0, and autoscaling.minReplicas one higher" -}}
{{-   else if ne $nodes.provider "karpenter" -}}
{{-     $messages = append $messages (printf "[LLM016] nodes.spareReplicas: only Karpenter makes nodes ahead, and nodes.provider is %s; write 0" $nodes.provider) -}}
{{-   end -}}
{{-   $messages = append $messages (include "llm-inference.prerequisite.violation" (dict "root" . "api" "autoscaling.x-k8s.io/v1beta1/CapacityBuffer" "key" "nodes.spareReplicas")) -}}
{{- end -}}
{{- if hasKey $nodes.labels (include "llm-inference.pool.label" .) -}}
{{-   $messages = append $messages (printf "[LLM016] nodes.labels: `%s` is set by the chart; write its value in nodes.poolName" (include "llm-inference.pool.label" .)) -}}
{{- end -}}
{{- if and (eq $nodes.provider "hybrid") (hasKey $nodes.labels "eks.amazonaws.com/compute-type") -}}
{{-   $messages = append $messages "[LLM016] nodes.labels: `eks.amazonaws.com/compute-type` is what provider hybrid selects already; remove it" -}}
{{- end -}}
{{- if not (has $nodes.provider (list "existing" "hybrid")) -}}
{{-   $messages = concat $messages (include "llm-inference.nodes.violations.instances" . | fromJsonArray) -}}
{{- end -}}
{{- if include "llm-inference.nodes.pools.enabled" . -}}
{{-   $messages = concat $messages (include "llm-inference.nodes.violations.pools" . | fromJsonArray) (include "llm-inference.nodes.violations.disruption" . | fromJsonArray) -}}
{{-   $messages = append $messages (include "llm-inference.prerequisite.violation" (dict "root" . "api" "karpenter.sh/v1/NodePool" "key" "nodes.create")) -}}
{{- end -}}
{{- if include "llm-inference.nodes.class.enabled" . -}}
{{-   if not $autoMode -}}
{{-     $messages = concat $messages (include "llm-inference.nodes.violations.image" . | fromJsonArray) -}}
{{-   end -}}
{{-   $messages = concat $messages (include "llm-inference.nodes.violations.class" . | fromJsonArray) (include "llm-inference.nodes.violations.volumes" . | fromJsonArray) -}}
{{-   $api := ternary "eks.amazonaws.com/v1/NodeClass" "karpenter.k8s.aws/v1/EC2NodeClass" $autoMode -}}
{{-   $messages = append $messages (include "llm-inference.prerequisite.violation" (dict "root" . "api" $api "key" "nodes.nodeClass.create")) -}}
{{- end -}}
{{- $messages = concat $messages (include "llm-inference.nodes.violations.subcharts" . | fromJsonArray) (include "llm-inference.nodes.violations.sharing" . | fromJsonArray) -}}
{{- compact $messages | join "\n" -}}
{{- end -}}

{{/* Instance types that no pod can use. */}}
{{- define "llm-inference.nodes.violations.instances" -}}
{{- include "llm-inference.nodes.facts" . -}}
{{- $messages := list -}}
{{- $driver := include "llm-inference.nodes.class.driver" . | int -}}
{{- /* Where there is a model, its own checks say so. */ -}}
{{- if not .Values.engine.enabled -}}
{{-   range .Catalog.unknownInstanceTypes -}}
{{-     $messages = append $messages (printf "[LLM018] nodes.instanceTypes: `%s` is not in files/catalog/instances.yaml; correct the spelling, or remove it" .) -}}
{{-   end -}}
{{- end -}}
{{- range $type := .Catalog.instanceTypes -}}
{{-   $instance := get $.Catalog.instances $type -}}
{{-   $gpu := get $.Catalog.gpus $instance.gpu | default dict -}}
{{-   if eq (int $instance.gpuCount) 0 -}}
{{-     $messages = append $messages (printf "[LLM312] nodes.instanceTypes: %s has a fraction of a GPU and offers no nvidia.com/gpu; remove it" $type) -}}
{{-   end -}}
{{-   if gt (int (get $gpu "driver" | default 0)) $driver -}}
{{-     $messages = append $messages (printf "[LLM311] nodes.instanceTypes: the GPU of %s needs driver %d, %s %s brings %d and never becomes ready there; remove it, or state a newer nodes.nodeClass.amiVersion" $type (int $gpu.driver) $.Values.nodes.nodeClass.family (include "llm-inference.nodes.class.amiVersion" $) $driver) -}}
{{-   end -}}
{{- end -}}
{{- toJson $messages -}}
{{- end -}}

{{/* Pools. */}}
{{- define "llm-inference.nodes.violations.pools" -}}
{{- $messages := list -}}
{{- $nodes := .Values.nodes -}}
{{- $pool := include "llm-inference.pool.name" . -}}
{{- $weights := dict -}}
{{- $static := list -}}
{{- $tiers := 0 -}}
{{- range $tier, $settings := $nodes.tiers -}}
{{-   if $settings.enabled -}}
{{-     $tiers = add1 $tiers -}}
{{-     $weight := toString $settings.weight -}}
{{-     if $settings.nodes -}}
{{-       $static = append $static $tier -}}
{{-       if eq $nodes.provider "autoMode" -}}
{{-         $messages = append $messages (printf "[LLM352] nodes.tiers.%s.nodes: whether EKS Auto Mode keeps a fixed count of nodes is not documented; write null" $tier) -}}
{{-       end -}}
{{-     else if hasKey $weights $weight -}}
{{-       $messages = append $messages (printf "[LLM345] nodes.tiers.%s.weight: %s is also the weight of %s, so Karpenter tries them in no stated order; write another" $tier $weight (get $weights $weight)) -}}
{{-     end -}}
{{-     if not $settings.nodes }}{{ $_ := set $weights $weight $tier }}{{ end -}}
{{-     $name := printf "%s-%s" $pool $tier -}}
{{-     if or (gt (len $name) 63) (not (regexMatch "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$" $name)) -}}
{{-       $messages = append $messages (printf "[LLM009] nodes.poolName: the pool would be named `%s`, which is no label value of at most 63 characters; write a shorter one" $name) -}}
{{-     end -}}
{{-   end -}}
{{- end -}}
{{- $reserved := include "llm-inference.nodes.reservedTiers" . | fromJsonArray -}}
{{- range $tier, $settings := $nodes.tiers -}}
{{-   range $name := $reserved -}}
{{-     $first := get $nodes.tiers $name -}}
{{-     if and $settings.enabled (not (has $tier $reserved)) (not $first.nodes) (not $settings.nodes) (gt (int $settings.weight) (int $first.weight)) -}}
{{-       $messages = append $messages (printf "[LLM359] nodes.tiers.%s.weight: tier %s with weight %d is tried first, so reserved GPUs stand idle while others are bought; write more than that" $name $tier (int $settings.weight)) -}}
{{-     end -}}
{{-   end -}}
{{- end -}}
{{- if not $tiers -}}
{{-   $messages = append $messages "[LLM016] nodes.tiers: none is enabled, so nodes.create makes no pool; enable one" -}}
{{- end -}}
{{- if not $nodes.instanceTypes -}}
{{-   $messages = append $messages "[LLM017] nodes.instanceTypes: a pool needs the instance types it may use; name them, cheapest first" -}}
{{- end -}}
{{- $keepsOff := false -}}
{{- range $_, $taint := $nodes.taints }}{{ if has $taint.effect (list "NoSchedule" "NoExecute") }}{{ $keepsOff = true }}{{ end }}{{ end -}}
{{- if not $keepsOff -}}
{{-   $messages = append $messages "[LLM305] nodes.taints: without a taint of effect NoSchedule or NoExecute any pod may fill a GPU node; keep nvidia.com/gpu" -}}
{{- end -}}
{{- range $label, $_ := $nodes.labels -}}
{{-   if or (eq $label "kubernetes.io/hostname") (regexMatch "^([^/]+[.])?karpenter[.](sh|k8s[.]aws)/" $label) -}}
{{-     $messages = append $messages (printf "[LLM355] nodes.labels: `%s` is not for pools to set, and the API server refuses it; write a label of your own" $label) -}}
{{-   end -}}
{{- end -}}
{{- if not (or $nodes.nodeClassRef.name $nodes.nodeClass.create) -}}
{{-   $messages = append $messages "[LLM314] nodes.nodeClassRef.name: the pools need a node class; name an existing one, or set nodes.nodeClass.create" -}}
{{- end -}}
{{- if not (or .Values.engine.enabled $nodes.gpuLimit (eq (len $static) (int $tiers))) -}}
{{-   $messages = append $messages "[LLM343] nodes.gpuLimit: without a model there is nothing to derive it from, and a pool without limit has an unbounded bill; write the most GPUs of one tier" -}}
{{- end -}}
{{- if .Values.engine.enabled -}}
{{-   $needed := mul .Derived.maxReplicas .Derived.gpusPerReplica -}}
{{-   if and $static (or $nodes.gpuLimit (eq (len $static) (int $tiers))) -}}
{{-     $largest := 1 -}}
{{-     range $_, $instance := .Catalog.instances }}{{ $largest = max $largest $instance.gpuCount }}{{ end -}}
{{-     $allowed := mul ($nodes.gpuLimit | default 0) (sub $tiers (len $static)) -}}
{{-     range $static }}{{ $allowed = add $allowed (mul $largest (get $nodes.tiers .).nodes) }}{{ end -}}
{{-     if gt (int $needed) (int $allowed) -}}
{{-       $messages = append $messages (printf "[LLM228] nodes.tiers.%s.nodes: %d replicas of %d GPU(s) do not fit the %d GPUs that the tiers may have; write more nodes, or enable a tier that follows the pods" (first $static) (int .Derived.maxReplicas) (int .Derived.gpusPerReplica) (int $allowed)) -}}
{{-     end -}}
{{-   else if and $nodes.gpuLimit (not $static) (gt (int $needed) (int (mul $nodes.gpuLimit $tiers))) -}}
{{-     $messages = append $messages (printf "[LLM228] nodes.gpuLimit: %d replicas of %d GPU(s) do not fit %d tier(s) of %d; write at least %d" (int .Derived.maxReplicas) (int .Derived.gpusPerReplica) (int $tiers) (int $nodes.gpuLimit) (int (include "llm-inference.nodes.gpusNeeded" .))) -}}
{{-   end -}}
{{- end -}}
{{- toJson $messages -}}
{{- end -}}

{{/* When nodes go. */}}
{{- define "llm-inference.nodes.violations.disruption" -}}
{{- $messages := list -}}
{{- $nodes := .Values.nodes -}}
{{- $expireAfter := include "llm-inference.nodes.expireAfter" . -}}
{{- if eq $nodes.provider "autoMode" -}}
{{-   $age := include "llm-inference.nodes.seconds" $expireAfter -}}
{{-   if or (eq $expireAfter "Never") (and $age (gt (int $age) 1814400)) -}}
{{-     $messages = append $messages (printf "[LLM352] nodes.expireAfter: EKS Auto Mode ends every node after 21 days, not after %s; write at most 504h" $expireAfter) -}}
{{-   end -}}
{{- end -}}
{{- $durations := dict "nodes.expireAfter" $expireAfter "nodes.disruption.consolidateAfter" $nodes.disruption.consolidateAfter -}}
{{- range $key, $duration := $durations -}}
{{-   if and (ne $duration "Never") (not (include "llm-inference.nodes.seconds" $duration)) -}}
{{-     $messages = append $messages (printf "[LLM316] %s: `%s` is no duration of Karpenter, which has no days; write hours, minutes or seconds (720h), or Never" $key $duration) -}}
{{-   end -}}
{{- end -}}
{{- with $nodes.terminationGracePeriod -}}
{{-   $seconds := include "llm-inference.nodes.seconds" . -}}
{{-   if not $seconds -}}
{{-     $messages = append $messages (printf "[LLM316] nodes.terminationGracePeriod: `%s` is no duration of Karpenter, which has no days; write hours, minutes or seconds (10m)" .) -}}
{{-   else if lt (int $seconds) (int $.Derived.gracePeriodSeconds) -}}
{{-     $messages = append $messages (printf "[LLM341] nodes.terminationGracePeriod: %s is shorter than the pods' own grace period of %d s, so nodes would cut their answers off; write at least %ds" . (int $.Derived.gracePeriodSeconds) (int $.Derived.gracePeriodSeconds)) -}}
{{-   end -}}
{{- end -}}
{{- if not (regexMatch "^((100|[1-9][0-9]?)%|[1-9][0-9]*)$" (toString $nodes.disruption.nodes)) -}}
{{-   $messages = append $messages (printf "[LLM317] nodes.disruption.nodes: `%v` is no number of nodes above 0, and with 0 idle nodes would stay for ever; write e.g. 1 or 10%%" $nodes.disruption.nodes) -}}
{{- end -}}
{{- with $nodes.disruption.officeHours -}}
{{-   if .enabled -}}
{{-     if not (include "llm-inference.cron" .schedule) -}}
{{-       $messages = append $messages (printf "[LLM317] nodes.disruption.officeHours.schedule: `%s` is no cron schedule of five fields, and Karpenter then blocks all disruption for ever; write e.g. `0 7 * * mon-fri` (UTC, without CRON_TZ)" .schedule) -}}
{{-     end -}}
{{-     if not (regexMatch "^([0-9]+(h|m)|[0-9]+h[0-9]+m)$" .duration) -}}
{{-       $messages = append $messages (printf "[LLM316] nodes.disruption.officeHours.duration: `%s` is no duration of hours and minutes; write e.g. 12h" .duration) -}}
{{-     end -}}
{{-   end -}}
{{- end -}}
{{- toJson $messages -}}
{{- end -}}

{{/* The node class. */}}
{{- define "llm-inference.nodes.violations.class" -}}
{{- $messages := list -}}
{{- $class := .Values.nodes.nodeClass -}}
{{- if not $class.role -}}
{{-   $messages = append $messages "[LLM017] nodes.nodeClass.role: nodes cannot join without an IAM role; write its name" -}}
{{- end -}}
{{- range $key := list "subnetTags" "securityGroupTags" -}}
{{-   if not (get $class $key) -}}
{{-     $messages = append $messages (printf "[LLM017] nodes.nodeClass.%s: selects nothing; write the tags, e.g. karpenter.sh/discovery: <cluster>" $key) -}}
{{-   end -}}
{{- end -}}
{{- $reserved := include "llm-inference.nodes.reservedTiers" . | fromJsonArray -}}
{{- if and .Values.nodes.create $class.capacityReservations (not $reserved) -}}
{{-   $messages = append $messages "[LLM358] nodes.nodeClass.capacityReservations: no enabled tier has capacity type reserved, so they are paid for and stand idle; enable nodes.tiers.reserved" -}}
{{- end -}}
{{- if and .Values.nodes.create $reserved (not $class.capacityReservations) (not .Values.nodes.nodeClassRef.name) -}}
{{-   $messages = append $messages (printf "[LLM017] nodes.nodeClass.capacityReservations: tier %s is to use reserved capacity, and none is selected; write terms such as {id: cr-0123456789abcdef0}" (first $reserved)) -}}
{{- end -}}
{{- range $class.capacityReservations -}}
{{-   if and .id (or .tags .ownerId) -}}
{{-     $messages = append $messages (printf "[LLM357] nodes.nodeClass.capacityReservations: %s has tags or ownerId beside the id, which the API server refuses; write the id alone" .id) -}}
{{-   else if not (or .id .tags) -}}
{{-     $messages = append $messages "[LLM357] nodes.nodeClass.capacityReservations: a term with ownerId alone, which the API server refuses; write tags beside it" -}}
{{-   end -}}
{{- end -}}
{{- $sharing := int $class.timeSlicing.replicas -}}
{{- if gt $sharing 1 -}}
{{-   if eq .Values.nodes.provider "autoMode" -}}
{{-     $messages = append $messages "[LLM352] nodes.nodeClass.timeSlicing.replicas: EKS Auto Mode shares no GPU; write 1, or nodes.provider karpenter" -}}
{{-   else if ne $class.family "bottlerocket" -}}
{{-     $messages = append $messages (printf "[LLM016] nodes.nodeClass.timeSlicing.replicas: the plugin of %s is the one in this chart; write 1, and device-plugin.timeSlicing.replicas %d" $class.family $sharing) -}}
{{-   end -}}
{{- end -}}
{{- if and (eq .Values.nodes.provider "autoMode") $class.amiVersion -}}
{{-   $messages = append $messages "[LLM352] nodes.nodeClass.amiVersion: EKS Auto Mode chooses the image itself; write null, or nodes.provider karpenter" -}}
{{- end -}}
{{- toJson $messages -}}
{{- end -}}

{{/* What an EC2NodeClass says about the nodes' image and disks; Auto Mode decides these itself. */}}
{{- define "llm-inference.nodes.violations.image" -}}
{{- include "llm-inference.nodes.facts" . -}}
{{- $messages := list -}}
{{- $class := .Values.nodes.nodeClass -}}
{{- $system := get .NodeFacts.operatingSystems $class.family -}}
{{- $version := include "llm-inference.nodes.class.amiVersion" . -}}
{{- $comparable := include "llm-inference.nodes.class.comparableVersion" . -}}
{{- if eq $version "latest" -}}
{{-   $messages = append $messages (printf "[LLM008] nodes.nodeClass.amiVersion: `latest` replaces every node whenever an image is released, broken ones too; write a version, e.g. %s" $system.amiVersion) -}}
{{- else if not $comparable -}}
{{-   $messages = append $messages (printf "[LLM016] nodes.nodeClass.amiVersion: `%s` is no version of %s; write one like %s, or null for that" $version $class.family $system.amiVersion) -}}
{{- else -}}
{{-   if semverCompare (printf "<%s" $system.parallelPullSince) $comparable -}}
{{-     $messages = append $messages (printf "[LLM325] nodes.nodeClass.amiVersion: %s %s does not know the parallel image pull yet; write at least %s" $class.family $version $system.parallelPullSince) -}}
{{-   else if and $class.instanceStoreRaid0 (semverCompare (printf "<%s" $system.instanceStorePullSince) $comparable) -}}
{{-     $messages = append $messages (printf "[LLM325] nodes.nodeClass.amiVersion: %s %s leaves pulled images off the RAID0 of local disks; write at least %s, or instanceStoreRaid0 false" $class.family $version $system.instanceStorePullSince) -}}
{{-   end -}}
{{-   with get $system.broken (trimPrefix "v" $version) -}}
{{-     $messages = append $messages (printf "[LLM325] nodes.nodeClass.amiVersion: of %s %s, %s; write %s" $class.family $version . $system.amiVersion) -}}
{{-   end -}}
{{- end -}}
{{- if $class.instanceStoreRaid0 -}}
{{-   range $type := .Catalog.instanceTypes -}}
{{-     if le (int (get $.Catalog.instances $type).nvmeGigabytes) 0 -}}
{{-       $messages = append $messages (printf "[LLM331] nodes.nodeClass.instanceStoreRaid0: %s has no local disks, so its images and weights would land on the small volume; remove it from nodes.instanceTypes, or write false" $type) -}}
{{-     end -}}
{{-   end -}}
{{- end -}}
{{- if not (regexMatch "^(unlimited|[0-9]*[.]?[0-9]+(b|kb|mb|gb|kib|mib|gib)?)$" (toString $class.soci.concurrentDownloadChunkSize)) -}}
{{-   $messages = append $messages (printf "[LLM324] nodes.nodeClass.soci.concurrentDownloadChunkSize: Bottlerocket does not boot with `%v`; write a size without a space, e.g. 16mb" $class.soci.concurrentDownloadChunkSize) -}}
{{- end -}}
{{- if ge (int $class.imageGarbageCollection.lowThresholdPercent) (int $class.imageGarbageCollection.highThresholdPercent) -}}
{{-   $messages = append $messages "[LLM016] nodes.nodeClass.imageGarbageCollection.lowThresholdPercent: is not below highThresholdPercent, which the kubelet refuses to start with; write less" -}}
{{- end -}}
{{- toJson $messages -}}
{{- end -}}

{{/* Its volumes. */}}
{{- define "llm-inference.nodes.violations.volumes" -}}
{{- include "llm-inference.nodes.facts" . -}}
{{- $messages := list -}}
{{- $class := .Values.nodes.nodeClass -}}
{{- $gp3 := .NodeFacts.gp3 -}}
{{- $data := include "llm-inference.nodes.dataVolume" . | fromJson -}}
{{- $gibibytes := div (include "llm-inference.quantity.mebibytes" $data.size | int64) 1024 -}}
{{- $least := include "llm-inference.nodes.dataVolume.leastGibibytes" . | int64 -}}
{{- if include "llm-inference.nodes.localDisks" . }}{{ $least = 20 }}{{ end -}}
{{- if lt $gibibytes (int64 $least) -}}
{{-   $messages = append $messages (printf "[LLM327] nodes.nodeClass.dataVolume.size: %s does not hold the unpacked image, downloaded weights and the system's own; write at least %dGi, or null" $data.size $least) -}}
{{- end -}}
{{- if and (eq .Values.nodes.provider "karpenter") (eq $class.family "bottlerocket") (lt (include "llm-inference.quantity.mebibytes" $class.rootVolume.size | int64) 4096) -}}
{{-   $messages = append $messages (printf "[LLM327] nodes.nodeClass.rootVolume.size: Bottlerocket's system does not fit %s; write at least 4Gi" $class.rootVolume.size) -}}
{{- end -}}
{{- if gt (float64 $data.throughput) (mulf (float64 $data.iops) (float64 $gp3.throughputPerIops)) -}}
{{-   $messages = append $messages (printf "[LLM329] nodes.nodeClass.dataVolume.iops: gp3 gives a quarter MiB/s per operation, so %d are too few for %d MiB/s; write at least %d, or null" (int $data.iops) (int $data.throughput) (int (ceil (divf (float64 $data.throughput) (float64 $gp3.throughputPerIops))))) -}}
{{- end -}}
{{- if $class.dataVolume.snapshotId -}}
{{-   if eq .Values.nodes.provider "autoMode" -}}
{{-     $messages = append $messages "[LLM352] nodes.nodeClass.dataVolume.snapshotId: EKS Auto Mode makes its volumes itself; write nothing, or nodes.provider karpenter" -}}
{{-   else if ne $class.family "bottlerocket" -}}
{{-     $messages = append $messages (printf "[LLM016] nodes.nodeClass.dataVolume.snapshotId: the one volume of %s is also the system's, and a snapshot would take its place; write nothing, or family bottlerocket" $class.family) -}}
{{-   else if $class.instanceStoreRaid0 -}}
{{-     $messages = append $messages "[LLM331] nodes.nodeClass.dataVolume.snapshotId: RAID0 of the local disks hides the images of the snapshot; write instanceStoreRaid0 false, or no snapshot" -}}
{{-   end -}}
{{- else if $class.dataVolume.initializationMebibytesPerSecond -}}
{{-   $messages = append $messages "[LLM019] nodes.nodeClass.dataVolume.initializationMebibytesPerSecond: there is no snapshot to fill the volume from; write snapshotId, or null" -}}
{{- end -}}
{{- if eq .Values.nodes.provider "autoMode" -}}
{{- /* Bounds of ephemeralStorage, https://docs.aws.amazon.com/eks/latest/userguide/create-node-class.html. */ -}}
{{-   if or (lt (int $data.throughput) 125) (gt (int $data.throughput) 1000) -}}
{{-     $messages = append $messages (printf "[LLM352] nodes.nodeClass.dataVolume.throughputMebibytesPerSecond: EKS Auto Mode takes 125 to 1000, not %d; write one of these, or null" (int $data.throughput)) -}}
{{-   end -}}
{{-   if or (lt (int $data.iops) 3000) (gt (int $data.iops) 16000) -}}
{{-     $messages = append $messages (printf "[LLM352] nodes.nodeClass.dataVolume.iops: EKS Auto Mode takes 3000 to 16000, not %d; write one of these, or null" (int $data.iops)) -}}
{{-   end -}}
{{- end -}}
{{- if gt (int64 $data.iops) (mul $gibibytes $gp3.iopsPerGibibyte) -}}
{{-   $messages = append $messages (printf "[LLM329] nodes.nodeClass.dataVolume.iops: gp3 gives at most %d operations per second and GiB, so %d need a larger volume than %s; write less" (int $gp3.iopsPerGibibyte) (int $data.iops) $data.size) -}}
{{- end -}}
{{- toJson $messages -}}
{{- end -}}

{{/* A model whose GPU is shared by its own release. */}}
{{- define "llm-inference.nodes.violations.sharing" -}}
{{- $messages := list -}}
{{- $plugin := get .Values "device-plugin" | default dict -}}
{{- $shares := dict "nodes.nodeClass.timeSlicing.replicas" (ternary .Values.nodes.nodeClass.timeSlicing.replicas 1 (not (empty (include "llm-inference.nodes.class.enabled" .)))) -}}
{{- if $plugin.enabled }}{{ $_ := set $shares "device-plugin.timeSlicing.replicas" (dig "timeSlicing" "replicas" 1 $plugin) }}{{ end -}}
{{- range $key, $replicas := $shares -}}
{{-   if and (gt (int $replicas) 1) $.Values.engine.enabled -}}
{{-     if gt (int $.Derived.gpusPerReplica) 1 -}}
{{-       $messages = append $messages (printf "[LLM338] %s: a replica of %d GPUs cannot have shares of them, the plugin refuses more than one; write 1, or a model on one GPU" $key (int $.Derived.gpusPerReplica)) -}}
{{-     else if gt (mulf (float64 $.Values.engine.gpuMemoryUtilization) (float64 $replicas)) 1.0 -}}
{{-       $messages = append $messages (printf "[LLM362] engine.gpuMemoryUtilization: %v times the %d engines on one GPU is more than its memory, and all but the first fail to start; write at most %.2f" $.Values.engine.gpuMemoryUtilization (int $replicas) (divf (floor (divf 100 (float64 $replicas))) 100)) -}}
{{-     end -}}
{{-   end -}}
{{- end -}}
{{- toJson $messages -}}
{{- end -}}

{{/* GPU Operator, device plugin and exporter beside the nodes. */}}
{{- define "llm-inference.nodes.violations.subcharts" -}}
{{- include "llm-inference.nodes.facts" . -}}
{{- $messages := list -}}
{{- $nodes := .Values.nodes -}}
{{- $operator := get .Values "gpu-operator" | default dict -}}
{{- $plugin := get .Values "device-plugin" | default dict -}}
{{- $exporter := get .Values "dcgm-exporter" | default dict -}}
{{- /* Nodes whose image EKS makes: Karpenter's and managed node groups'. */ -}}
{{- $eks := has $nodes.provider (list "karpenter" "managedNodeGroup") -}}
{{- $system := get .NodeFacts.operatingSystems $nodes.nodeClass.family -}}
{{- $autoMode := eq $nodes.provider "autoMode" -}}
{{- if $operator.enabled -}}
{{- /* The placeholder in charts/gpu-operator has version 0.0.0; once the real chart is there, it is the one seen here. */ -}}
{{-   $chart := get (get .Subcharts "gpu-operator" | default dict) "Chart" -}}
{{-   if and $chart (eq $chart.Version "0.0.0") -}}
{{-     $messages = append $messages "[LLM017] gpu-operator.enabled: NVIDIA's chart has not been fetched yet; run: helm dependency build charts/llm-inference" -}}
{{-   end -}}
{{-   if $autoMode -}}
{{-     $messages = append $messages "[LLM352] gpu-operator.enabled: nodes of EKS Auto Mode bring driver and device plugin and take no operator; write false" -}}
{{-   else if and $eks (eq $nodes.nodeClass.family "bottlerocket") -}}
{{-     $messages = append $messages "[LLM332] gpu-operator.enabled: NVIDIA's operator does not support Bottlerocket, which brings driver and device plugin itself; write false, or nodes.nodeClass.family al2023" -}}
{{-   else if $eks -}}
{{-     range $operand := list "driver" "toolkit" -}}
{{-       $settings := get $operator $operand | default dict -}}
{{-       if ne (toString (get $settings "enabled")) "false" -}}
{{-         $messages = append $messages (printf "[LLM333] gpu-operator.%s.enabled: the node image already has it, and a second one breaks it; write false" $operand) -}}
{{-       end -}}
{{-     end -}}
{{-   end -}}
{{-   $tolerated := list "nvidia.com/gpu" -}}
{{-   range get (get $operator "daemonsets" | default dict) "tolerations" | default list }}{{ $tolerated = append $tolerated (get . "key" | default "*") }}{{ end -}}
{{-   range $key, $_ := $nodes.taints -}}
{{-     if not (or (has $key $tolerated) (has "*" $tolerated)) -}}
{{-       $messages = append $messages (printf "[LLM335] gpu-operator.daemonsets.tolerations: the operator's pods do not tolerate %s and leave such nodes without GPU; add it there and in gpu-operator.node-feature-discovery.worker.tolerations" $key) -}}
{{-     end -}}
{{-   end -}}
{{- end -}}
{{- if $plugin.enabled -}}
{{-   if $autoMode -}}
{{-     $messages = append $messages "[LLM334] device-plugin.enabled: nodes of EKS Auto Mode have their own device plugin; write false" -}}
{{-   else if and $eks $system.bringsDevicePlugin -}}
{{-     $messages = append $messages (printf "[LLM334] device-plugin.enabled: %s has its own device plugin, and two of them hand out the same GPUs; write false, or nodes.nodeClass.family al2023" $nodes.nodeClass.family) -}}
{{-   end -}}
{{-   if and $operator.enabled (ne (toString (get (get $operator "devicePlugin" | default dict) "enabled")) "false") -}}
{{-     $messages = append $messages "[LLM334] device-plugin.enabled: the GPU Operator also runs one; write false, or gpu-operator.devicePlugin.enabled false" -}}
{{-   end -}}
{{- end -}}
{{- if and $exporter.enabled $operator.enabled (ne (toString (get (get $operator "dcgmExporter" | default dict) "enabled")) "false") -}}
{{-   $messages = append $messages "[LLM016] dcgm-exporter.enabled: the GPU Operator also runs one, so every GPU would be counted twice; write false, or gpu-operator.dcgmExporter.enabled false" -}}
{{- end -}}
{{- if and $exporter.enabled (get (get $exporter "serviceMonitor" | default dict) "enabled") -}}
{{-   $messages = append $messages (include "llm-inference.prerequisite.violation" (dict "root" . "api" "monitoring.coreos.com/v1/ServiceMonitor" "key" "dcgm-exporter.serviceMonitor.enabled")) -}}
{{- end -}}
{{- toJson $messages -}}
{{- end -}}
