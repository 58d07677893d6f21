{{/*
What is run beside the model: the checks of `helm test`, the load test, the pre-pull. Scripts (files/operations) need
nothing but Python; a small image of its own runs them, because the engine's is 9 GB and checks belong on cheap nodes.
*/}}

{{/* "true" where `helm test` has something to ask. */}}
{{- define "llm-inference.test.enabled" -}}
{{- if and .Values.helmTest.enabled (or .Values.engine.enabled .Values.gateway.enabled) -}}true{{- end -}}
{{- end -}}

{{- define "llm-inference.test.name" -}}
{{- include "llm-inference.sharedName" . }}-test
{{- end -}}

{{/* Name of the ConfigMap with the scripts. */}}
{{- define "llm-inference.operations.scripts" -}}
{{- include "llm-inference.sharedName" . }}-operations
{{- end -}}

{{/* Image of the scripts, behind the pull-through prefix where one is set. A digest wins over the tag. */}}
{{- define "llm-inference.operations.image" -}}
{{- $image := .Values.tools.image -}}
{{- $prefix := trimSuffix "/" .Values.nodes.imagePrefix -}}
{{- $repository := $image.repository -}}
{{- if and $prefix (not (regexMatch "^[^/]+[.:][^/]*/" $repository)) -}}
{{- /* Docker Hub's own images are below library/, which only its own registry lets one leave out. */ -}}
{{-   $repository = printf "%s/%s" $prefix (ternary $repository (printf "library/%s" $repository) (contains "/" $repository)) -}}
{{- end -}}
{{- if $image.digest -}}
{{ $repository }}@{{ $image.digest }}
{{- else -}}
{{ $repository }}:{{ $image.tag }}
{{- end -}}
{{- end -}}

{{/* URL of the model as clients have it. */}}
{{- define "llm-inference.operations.url" -}}
{{- $port := int64 .Values.engine.service.port -}}
http://{{ include "llm-inference.engine.service" . }}.{{ .Release.Namespace }}.svc{{ if ne $port 80 }}:{{ $port }}{{ end }}
{{- end -}}

{{/* Security context of the pods. */}}
{{- define "llm-inference.operations.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* API key for clients of the engine, as environment; nothing where there is none. */}}
{{- define "llm-inference.operations.keyEnvironment" -}}
{{- with .Values.engine.apiKey -}}
{{- if .existingSecret -}}
- name: API_KEY
  valueFrom:
    secretKeyRef:
      name: {{ .existingSecret | quote }}
      key: {{ .key | quote }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Peers of a NetworkPolicy for what is run here: a list of podSelectors, or nothing. */}}
{{- define "llm-inference.operations.peers" -}}
{{- $components := list -}}
{{- if include "llm-inference.test.enabled" . }}{{ $components = append $components "test" }}{{ end -}}
{{- if include "llm-inference.loadTest.enabled" . }}{{ $components = append $components "load-test" }}{{ end -}}
{{- range $components -}}
{{- print "\n" -}}
# The {{ replace "-" " " . }} of this release.
- podSelector:
    matchLabels:
      {{- include "llm-inference.selectorLabels" (dict "root" $ "component" .) | nindent 6 }}
{{- end -}}
{{- end -}}

{{/*
What one request to the model looks like, as JSON: path, body, and where the answer is in what comes back: `items` (a
list; empty: the whole) and `field` of its first. Of the tasks other than `generate`, only one is the engine's at a time.
*/}}
{{- define "llm-inference.test.request" -}}
{{- $model := .Derived.modelName -}}
{{- $task := .Values.engine.task -}}
{{- if eq $task "embed" -}}
{{-   dict "path" "/v1/embeddings" "body" (dict "model" $model "input" "Is anybody there?") "items" "data" "field" "embedding" | toJson -}}
{{- else if eq $task "rerank" -}}
{{- /* SGLang answers with a plain list. */ -}}
{{-   $sglang := eq .Values.engine.type "sglang" -}}
{{-   dict "path" "/v1/rerank" "body" (dict "model" $model "query" "Is anybody there?" "documents" (list "Yes." "No.")) "items" (ternary "" "results" $sglang) "field" (ternary "score" "relevance_score" $sglang) | toJson -}}
{{- else if eq $task "classify" -}}
{{-   dict "path" (ternary "/v1/classify" "/classify" (eq .Values.engine.type "sglang")) "body" (dict "model" $model "input" "Is anybody there?") "items" "data" "field" "label" | toJson -}}
{{- else -}}
{{-   dict "path" "/v1/completions" "body" (dict "model" $model "prompt" "Is anybody there?" "max_tokens" 8 "temperature" 0) "items" "choices" "field" "text" | toJson -}}
{{- end -}}
{{- end -}}

{{/* The plan of check.py, as JSON. */}}
{{- define "llm-inference.test.plan" -}}
{{- $scaled := list -}}
{{- $checks := list -}}
{{- if .Values.engine.enabled -}}
{{- $contexts := .Roles | default (list .) -}}
{{- range $context := $contexts -}}
{{-   $name := include "llm-inference.engine.name" $context -}}
{{-   if include "llm-inference.autoscaling.enabled" $context -}}
{{-     $path := ternary "/apis/leaderworkerset.x-k8s.io/v1/namespaces/%s/leaderworkersets/%s" "/apis/apps/v1/namespaces/%s/deployments/%s" $.Values.multiNode.enabled -}}
{{-     $scaled = append $scaled (dict "name" $name "path" (printf $path $.Release.Namespace $name)) -}}
{{-     $checks = append $checks (dict "check" "autoscaler" "namespace" $.Release.Namespace "name" $name) -}}
{{-     if eq $context.Values.autoscaling.source "prometheus" -}}
{{-       $checks = append $checks (dict "check" "triggers" "namespace" $.Release.Namespace "name" $name) -}}
{{-     end -}}
{{-   end -}}
{{- end -}}
{{- $health := .Catalog.engine.healthPath -}}
{{- if .Roles }}{{ $health = include "llm-inference.router.readyPath" . }}{{ end -}}
{{- $url := include "llm-inference.operations.url" . -}}
{{- $checks = append $checks (dict "check" "health" "url" (printf "%s%s" $url $health)) -}}
{{- $request := include "llm-inference.test.request" . | fromJson -}}
{{- $checks = append $checks (dict "check" "answer" "url" (printf "%s%s" $url $request.path) "body" $request.body "items" $request.items "field" $request.field) -}}
{{- $series := list .Derived.metrics.running .Derived.metrics.waiting .Derived.metrics.promptTokens -}}
{{- if eq .Values.engine.task "generate" }}{{ $series = append $series .Derived.metrics.generationTokens }}{{ end -}}
{{- range $context := $contexts -}}
{{-   $checks = append $checks (dict "check" "metrics" "url" (printf "%s%s" (include "llm-inference.operations.url" $context) $.Catalog.engine.metricsPath) "label" (printf "%s=\"%s\"" $.Catalog.engine.modelLabel $.Derived.modelName) "series" $series) -}}
{{- end -}}
{{- end -}}
{{- if .Values.gateway.enabled -}}
{{-   $checks = append $checks (dict "check" "gateway" "url" (printf "%s%s" (include "llm-inference.gateway.url" .) .Gateway.readinessPath)) -}}
{{- end -}}
{{- dict "timeoutSeconds" (int64 .Values.helmTest.timeoutSeconds) "scaled" $scaled "checks" $checks | toPrettyJson -}}
{{- end -}}

{{- define "llm-inference.prePull.name" -}}
{{- include "llm-inference.fullname" . }}-pre-pull
{{- end -}}

{{/* "true" where the load test runs. */}}
{{- define "llm-inference.loadTest.enabled" -}}
{{- if and .Values.loadTest.enabled (or .Values.engine.enabled .Values.gateway.enabled .Values.loadTest.url) -}}true{{- end -}}
{{- end -}}

{{/* "true" where the load goes through this release's gateway: then its key is sent, and a model at zero is woken. */}}
{{- define "llm-inference.loadTest.throughGateway" -}}
{{- if and .Values.gateway.enabled (not .Values.loadTest.url) -}}true{{- end -}}
{{- end -}}

{{/* URL of this release's gateway, by its Service. */}}
{{- define "llm-inference.gateway.url" -}}
{{- $port := int64 .Values.gateway.service.port -}}
http://{{ include "llm-inference.gateway.name" . }}.{{ .Release.Namespace }}.svc{{ if ne $port 80 }}:{{ $port }}{{ end }}
{{- end -}}

{{/* URL that the load goes to. */}}
{{- define "llm-inference.loadTest.url" -}}
{{- if .Values.loadTest.url -}}
{{ .Values.loadTest.url | trimSuffix "/" }}
{{- else if .Values.gateway.enabled -}}
{{ include "llm-inference.gateway.url" . }}
{{- else -}}
{{ include "llm-inference.operations.url" . }}
{{- end -}}
{{- end -}}

{{/* The plan of load.py, as JSON. */}}
{{- define "llm-inference.loadTest.plan" -}}
{{- $values := .Values.loadTest -}}
{{- dict
      "url" (include "llm-inference.loadTest.url" .)
      "model" ($values.model | default .Derived.modelName)
      "task" .Values.engine.task
      "steadyRequestsPerSecond" $values.steady.requestsPerSecond
      "steadySeconds" (int64 $values.steady.seconds)
      "burstRequests" (int64 $values.burst.requests)
      "promptTokens" (int64 $values.promptTokens)
      "answerTokens" (int64 $values.answerTokens)
      "timeoutSeconds" (int64 $values.timeoutSeconds)
      "mostFailedPercent" $values.mostFailedPercent
      "lingerSeconds" (int64 (mul 3 .Values.observability.scrapeIntervalSeconds))
      "metricsPort" (int64 $values.metricsPort)
      "run" (int64 $values.run) | toPrettyJson -}}
{{- end -}}

{{/* Name of the load test's Job: another one for another plan, since a Job cannot be changed. */}}
{{- define "llm-inference.loadTest.job" -}}
{{- $name := include "llm-inference.name.shortened" (dict "name" (include "llm-inference.sharedName" .) "length" 40) -}}
{{ $name }}-load-test-{{ printf "%s\n%s" (include "llm-inference.loadTest.plan" .) (.Files.Get "files/operations/load.py") | sha256sum | trunc 8 }}
{{- end -}}

{{/* Contradictions in `loadTest` and `prePull`, one per line. */}}
{{- define "llm-inference.operations.violations" -}}
{{- $pull := .Values.prePull -}}
{{- if and $pull.enabled (not .Values.engine.enabled) }}
[LLM016] prePull.enabled: this release serves no model, whose image could be pulled; write false
{{- end -}}
{{- if and $pull.furtherImages (not $pull.enabled) }}
[LLM019] prePull.furtherImages: nothing is pulled while prePull.enabled is false; write true, or no images
{{- end -}}
{{- range $pull.furtherImages -}}
{{-   if not (regexMatch "(@sha256:[0-9a-f]{64}|:[A-Za-z0-9_][A-Za-z0-9_.-]*)$" .) }}
[LLM007] prePull.furtherImages: {{ . }} has no tag; write one, or a digest
{{-   end -}}
{{- end -}}
{{- if and $pull.enabled .Values.engine.enabled }}
{{-   $standing := or .Values.nodes.spareReplicas (not (has .Values.nodes.provider (list "karpenter" "autoMode"))) (not .Values.nodes.create) -}}
{{-   range .Values.nodes.tiers -}}{{- if and .enabled (get . "nodes") -}}{{- $standing = true -}}{{- end -}}{{- end -}}
{{-   if not $standing }}
[LLM019] prePull.enabled: every node of these pools is made for a replica, which pulls the image itself; write false, or keep nodes ready (nodes.spareReplicas, nodes.tiers.<name>.nodes)
{{-   end -}}
{{- end -}}
{{- $load := .Values.loadTest -}}
{{- if $load.enabled -}}
{{-   if not (include "llm-inference.loadTest.enabled" .) }}
[LLM016] loadTest.enabled: this release has neither engine nor gateway to ask; write loadTest.url, or switch it off
{{-   end -}}
{{-   if not (has .Values.engine.task (list "generate" "embed")) }}
[LLM016] loadTest.enabled: the load is completions or embeddings, and the model's task is {{ .Values.engine.task }}; write loadTest.enabled false
{{-   end -}}
{{-   if and (include "llm-inference.loadTest.enabled" .) (not .Values.engine.enabled) (not $load.model) }}
[LLM017] loadTest.model: no engine of this release says what model to ask for; name one of gateway.models
{{-   end -}}
{{-   if not (or (and $load.steady.requestsPerSecond $load.steady.seconds) $load.burst.requests) }}
[LLM017] loadTest.steady: neither steady requests nor a burst: nothing would be asked; write requestsPerSecond and seconds, or loadTest.burst.requests
{{-   end -}}
{{-   $tokens := add $load.promptTokens $load.answerTokens -}}
{{-   if and .Values.engine.enabled .Derived.maxModelLen (gt (int64 $tokens) (int64 .Derived.maxModelLen)) }}
[LLM016] loadTest.promptTokens: {{ $tokens }} tokens of prompt and answer do not fit the context of {{ .Derived.maxModelLen }}; write fewer, or a larger engine.maxModelLen
{{-   end -}}
{{-   if and (include "llm-inference.loadTest.enabled" .) (not (include "llm-inference.loadTest.throughGateway" .)) (not $load.url) .Values.autoscaling.enabled (eq (int64 .Values.autoscaling.minReplicas) 0) (not .Values.autoscaling.officeHours.enabled) }}
[LLM016] loadTest.enabled: nothing that this load does wakes a model from zero, so that all of it would be refused; write the address that wakes it in loadTest.url, or autoscaling.minReplicas 1 meanwhile
{{-   end -}}
{{- end -}}
{{- end -}}
