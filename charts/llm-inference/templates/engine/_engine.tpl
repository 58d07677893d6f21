{{/* What the engine's templates share: image, arguments, environment, volumes, scheduling. */}}

{{/* Image of the engine, behind the pull-through prefix where one is set. A digest wins over the tag. */}}
{{- define "llm-inference.engine.image" -}}
{{- $image := .Values.engine.image -}}
{{- $prefix := trimSuffix "/" .Values.nodes.imagePrefix -}}
{{- $name := $image.repository | default .Catalog.engine.image -}}
{{- $repository := ternary (printf "%s/%s" $prefix $name) $name (not (empty $prefix)) -}}
{{- if $image.digest -}}
{{ $repository }}@{{ $image.digest }}
{{- else -}}
{{ $repository }}:{{ $image.tag | default (printf "v%s" .Catalog.engineVersion) }}
{{- end -}}
{{- end -}}

{{/*
Arguments of the engine, as a JSON list: those of its own template (_vllm.tpl, _sglang.tpl), of the weights' delivery, of
its role or group, and the user's.
*/}}
{{- define "llm-inference.engine.arguments" -}}
{{- $arguments := include (printf "llm-inference.engine.%s.arguments" .Values.engine.type) . | fromJsonArray -}}
{{- $arguments = concat $arguments (include "llm-inference.weights.arguments" . | fromJsonArray) (include "llm-inference.disaggregation.arguments" . | fromJsonArray) (include "llm-inference.multiNode.arguments" . | fromJsonArray) -}}
{{- concat $arguments .Values.engine.extraArgs | toJson -}}
{{- end -}}

{{/* Resource that a replica asks for its GPUs by: whole ones, or a slice. */}}
{{- define "llm-inference.engine.gpuResource" -}}
nvidia.com/{{ .Values.engine.migProfile | empty | ternary "gpu" (printf "mig-%s" .Values.engine.migProfile) }}
{{- end -}}

{{/*
Data type of activations: the value; for `auto` float16 where replicas may get a GPU without bfloat16 (below compute
capability 8.0). The engine would fall back to it there by itself, and on the other GPUs of the pool it would not.
*/}}
{{- define "llm-inference.engine.dtype" -}}
{{- $dtype := .Values.engine.dtype -}}
{{- if eq $dtype "auto" -}}
{{-   range .Derived.candidateTypes -}}
{{-     $gpu := get $.Catalog.gpus (get $.Catalog.instances .).gpu -}}
{{-     if lt (float64 $gpu.computeCapability) 8.0 }}{{ $dtype = "float16" }}{{ end -}}
{{-   end -}}
{{- end -}}
{{- $dtype -}}
{{- end -}}

{{/* Where probes ask whether the engine takes requests; liveness asks `healthPath` of the catalog. */}}
{{- define "llm-inference.engine.readyPath" -}}
{{- if include "llm-inference.engine.can" (dict "root" . "ability" "readyEndpoint") -}}
{{ .Catalog.engine.readyPath }}
{{- else -}}
{{ .Catalog.engine.healthPath }}
{{- end -}}
{{- end -}}

{{/*
A further matcher of a metric that every stage of a pipeline reports for itself (SGLang's scheduler): only the first
stage counts. Empty for all others: dict root, metric.
*/}}
{{- define "llm-inference.engine.rankMatcher" -}}
{{- $own := get .root.Catalog.engine "schedulerMetrics" | default list -}}
{{- if and (has .metric $own) (gt (int64 .root.Values.engine.pipelineParallelSize) 1) -}}
,pp_rank="0"
{{- end -}}
{{- end -}}

{{/* Home of the engine. Everything it writes lies below it or /tmp. */}}
{{- define "llm-inference.engine.home" -}}
{{ .Catalog.engine.user.home }}
{{- end -}}

{{/* Environment of the engine container, as a YAML list. */}}
{{- define "llm-inference.engine.environment" -}}
{{- $home := include "llm-inference.engine.home" . -}}
# Stated for every uid: torch asks for a user name, and a uid without one has / as its home.
- name: HOME
  value: {{ $home }}
- name: USER
  value: {{ .Values.engine.type }}
- name: HF_HOME
  value: {{ $home }}/.cache/huggingface
{{- if not (hasKey .Values.engine.extraEnv "HF_HUB_OFFLINE") }}
# Weights come from disk or bucket at a pinned revision: nothing is asked of the hub while serving.
- name: HF_HUB_OFFLINE
  value: "1"
{{- end }}
{{ include (printf "llm-inference.engine.%s.environment" .Values.engine.type) . }}
{{- if eq .Values.weights.delivery "stream" }}
{{ include "llm-inference.weights.s3Environment" . }}
{{- if .Values.weights.source.s3.endpointUrl }}
# S3-compatible stores are addressed by path: their certificates and names do not cover bucket.host.
- name: RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING
  value: "0"
{{- end }}
{{- end }}
{{- include "llm-inference.disaggregation.environment" . }}
{{- include "llm-inference.multiNode.environment" . }}
{{- range $name, $value := .Values.engine.extraEnv }}
- name: {{ $name | quote }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- end -}}

{{/* Variables that `engine.extraEnv` may not repeat, whatever the engine: the chart sets them, always or by another value. */}}
{{- define "llm-inference.engine.generatedVariables" -}}
{{- $common := list "HOME" "USER" "HF_HOME" "HF_TOKEN" "AWS_REGION" "AWS_ENDPOINT_URL" "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY"
      "RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING" "RUNAI_STREAMER_CONCURRENCY" "RUNAI_STREAMER_MEMORY_LIMIT" -}}
{{- concat $common (include (printf "llm-inference.engine.%s.generatedVariables" .Values.engine.type) . | fromJsonArray) (include "llm-inference.multiNode.generatedVariables" . | fromJsonArray) | toJson -}}
{{- end -}}

{{/*
Where compiled kernels are kept: pod-local, or a directory of the shared claim. A compiled kernel is only right for one
image, one set of options and one GPU (the engine's own cache key), so that the directory carries a hash of them.
*/}}
{{- define "llm-inference.engine.cacheRoot" -}}
{{- if .Values.engine.compileCache.enabled -}}
{{-   $gpus := list -}}
{{-   range .Derived.candidateTypes -}}{{- $gpus = append $gpus (get $.Catalog.instances .).gpu -}}{{- end -}}
{{-   $content := list (include "llm-inference.engine.image" .) (include "llm-inference.engine.arguments" .) .Values.engine.extraEnv ($gpus | uniq) | toJson -}}
/compile-cache/{{ $content | sha256sum | trunc 16 }}
{{- else -}}
{{ include "llm-inference.engine.home" . }}/.cache/{{ .Values.engine.type }}
{{- end -}}
{{- end -}}

{{/* Pod-level scheduling: tolerations, node selector, affinity, spread. All derived from `nodes` and `engine.topologySpread`. */}}
{{- define "llm-inference.engine.scheduling" -}}
nodeSelector:
  {{ include "llm-inference.pool.label" . }}: {{ include "llm-inference.pool.name" . | quote }}
  {{- if eq .Values.nodes.provider "hybrid" }}
  {{ include "llm-inference.nodes.hybridLabel" . }}
  {{- end }}
  {{- with .Values.nodes.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- $zones := include "llm-inference.nodes.podZones" . | fromJsonArray }}
{{- $together := include "llm-inference.multiNode.affinity" . | trim }}
{{- if or .Values.nodes.instanceTypes $zones $together }}
affinity:
  {{- with $together }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- if or .Values.nodes.instanceTypes $zones }}
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      nodeSelectorTerms:
        - matchExpressions:
            {{- with .Values.nodes.instanceTypes }}
            - key: node.kubernetes.io/instance-type
              operator: In
              values: {{ toJson . }}
            {{- end }}
            {{- with $zones }}
            - key: topology.kubernetes.io/zone
              operator: In
              values: {{ toJson . }}
            {{- end }}
  {{- end }}
{{- end }}
{{- with .Values.nodes.taints }}
tolerations:
  {{- range $key, $taint := . }}
  - key: {{ $key | quote }}
    {{- if $taint.value }}
    operator: Equal
    value: {{ $taint.value | quote }}
    {{- else }}
    operator: Exists
    {{- end }}
    effect: {{ $taint.effect }}
  {{- end }}
{{- end }}
{{- if and .Values.engine.topologySpread.enabled (not (include "llm-inference.multiNode.worker" .)) }}
topologySpreadConstraints:
  # A preference: GPUs run out in single zones, and a replica in the wrong zone is better than none.
  - topologyKey: topology.kubernetes.io/zone
    maxSkew: {{ .Values.engine.topologySpread.maxSkew }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "llm-inference.servingLabels" . | nindent 8 }}
    # Counts the pods of one revision, so that a rolling update spreads too.
    matchLabelKeys: [{{ ternary "leaderworkerset.sigs.k8s.io/template-revision-hash" "pod-template-hash" .Values.multiNode.enabled }}]
{{- end }}
{{- end -}}

{{/* Annotations of the pod: what cannot be read from the command line, for chartproof, and Karpenter's pause. */}}
{{- define "llm-inference.engine.podAnnotations" -}}
chartproof.io/model: {{ .Values.model.id | quote }}
chartproof.io/precision: {{ .Values.model.precision | quote }}
chartproof.io/weights-gigabytes: {{ .Derived.weightsGigabytes | toString | quote }}
chartproof.io/weights-delivery: {{ .Derived.delivery }}
chartproof.io/engine-version: {{ .Derived.engineVersion | quote }}
chartproof.io/image-gigabytes: {{ .Derived.imageGigabytes | toString | quote }}
{{- with .Derived.nodeFamily }}
chartproof.io/node-family: {{ . }}
{{- end }}
{{- with .Values.engine.startup.engineStartSeconds }}
chartproof.io/engine-start-seconds: {{ . | toString | quote }}
{{- end }}
{{- with include "llm-inference.engine.doNotDisrupt" . }}
# A duration, not "true": a pod that is loading stays where it is, one that serves may move.
karpenter.sh/do-not-disrupt: {{ . | quote }}
{{- end }}
{{- if not (include "llm-inference.multiNode.worker" .) }}
{{- with include "llm-inference.observability.podAnnotations" . }}
{{ . }}
{{- end }}
{{- end }}
{{- with .Values.engine.podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/*
How long after its start Karpenter leaves a pod alone: its download and its startup budget; empty: not at all. On spot
it would outlive the notice of 120 s, during which Karpenter drains no such pod and makes no node for its successor.
*/}}
{{- define "llm-inference.engine.doNotDisrupt" -}}
{{- if has .Values.nodes.provider (list "karpenter" "autoMode") -}}
{{-   $spot := false -}}
{{-   range $_, $tier := .Values.nodes.tiers }}{{ if and $tier.enabled (has "spot" $tier.capacityTypes) }}{{ $spot = true }}{{ end }}{{ end -}}
{{-   if not (kindIs "invalid" .Values.engine.doNotDisrupt) -}}
{{-     .Values.engine.doNotDisrupt -}}
{{-   else if not $spot -}}
{{-     printf "%ds" (add .Derived.transferSeconds .Derived.startupBudgetSeconds) -}}
{{-   end -}}
{{- end -}}
{{- end -}}

{{/* Security context of the pod: Pod Security "restricted". */}}
{{- define "llm-inference.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: {{ .uid }}
# The image's user belongs to group 0, and its home is writable for that group.
runAsGroup: 0
fsGroup: {{ .uid }}
# A volume of hundreds of gigabytes is not walked at every start.
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* Security context of a container: dict readOnlyRootFilesystem. */}}
{{- define "llm-inference.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: {{ .readOnlyRootFilesystem }}
capabilities:
  drop: [ALL]
{{- end -}}

{{/*
`replicas` of the Deployment or LeaderWorkerSet, or nothing.

Without autoscaling it is the value. With it, the autoscaler owns the field: setting it would reset the count at every
upgrade. Yet "leave it out" is wrong in two cases (both tried on a real API server, with and without server-side apply):
* An object created without the field gets 1. With `minReplicas: 0` that one pod would start a GPU node, so an
  installation says 0.
* A field that a release has once set must not just vanish. A three-way merge (Helm 3, or Helm 4 without server-side
  apply) deletes it, and so does server-side apply while nobody else has written it; the API server fills in 1, and a
  model with ten replicas loses nine. So an upgrade of a release that has set it (an annotation says so) repeats the
  live count, which changes nothing; under server-side apply it does so only until the autoscaler has written the field,
  because what another manager owns stays when Helm lets go, and what Helm repeats would conflict in a later rollback.
`helm template` knows no cluster: tools that apply its output (Argo CD) must ignore differences of /spec/replicas.
*/}}
{{- define "llm-inference.engine.replicas" -}}
{{- if not .Values.autoscaling.enabled -}}
{{ int64 .Values.engine.replicas }}
{{- else if .Release.IsInstall -}}
{{-   if eq (int64 .Values.autoscaling.minReplicas) 0 -}}0{{- end -}}
{{- else -}}
{{-   $target := include "llm-inference.engine.target" . | fromYaml -}}
{{-   $live := lookup $target.apiVersion $target.kind .Release.Namespace $target.name | default dict -}}
{{-   if eq (dig "metadata" "annotations" "llm-inference.io/replicas" "" $live) "set" -}}
{{-     $helmApplies := false -}}
{{-     $othersOwn := false -}}
{{-     range $entry := dig "metadata" "managedFields" list $live -}}
{{-       if and (eq $entry.manager "helm") (eq $entry.operation "Apply") -}}{{- $helmApplies = true -}}{{- end -}}
{{-       if and (ne $entry.manager "helm") (hasKey (dig "fieldsV1" "f:spec" dict $entry) "f:replicas") -}}{{- $othersOwn = true -}}{{- end -}}
{{-     end -}}
{{-     if not (and $helmApplies $othersOwn) -}}
{{ dig "spec" "replicas" 1 $live | int64 | max (int64 .Values.autoscaling.minReplicas) }}
{{-     end -}}
{{-   end -}}
{{- end -}}
{{- end -}}
