{{/*
PromQL of the triggers.

Every trigger has `ignoreNullValues: "false"`: an empty result is an error and holds the replica count. So a query must
be empty only when something is broken, and 0 when there is rightly nothing to count. The guard tells the two apart by
kube-state-metrics:

  replicas                     targets              result
  none ready                   none                 0
  all ready ones are scraped   as many              the aggregate
  some ready, fewer scraped    some or none         empty: held until they are back
  kube-state-metrics is lost   some                 the aggregate: its loss alone stops nothing
  kube-state-metrics is lost   none                 empty: held

Without it, KEDA's default takes lost targets for idleness and scales a loaded model to its minimum, or to zero.
*/}}

{{/* Label matchers of the engine's series of this release. */}}
{{- define "llm-inference.autoscaling.matchers" -}}
{{- include "llm-inference.derive" . -}}
{{- $pods := include "llm-inference.engine.podPattern" . | replace "." `\\.` -}}
namespace="{{ .Release.Namespace }}",{{ .Catalog.engine.modelLabel }}="{{ .Derived.modelName }}",pod=~"{{ $pods }}"
{{- end -}}

{{/* A series of the engine by its name in the catalog: dict root, metric, suffix. */}}
{{- define "llm-inference.autoscaling.series" -}}
{{- include "llm-inference.derive" .root -}}
{{- get .root.Derived.metrics .metric }}{{ .suffix | default "" }}{ {{- include "llm-inference.autoscaling.matchers" .root }}{{ include "llm-inference.engine.rankMatcher" . -}} }
{{- end -}}

{{/* Ready replicas by kube-state-metrics. `max`, because two of its pods report the same object. */}}
{{- define "llm-inference.autoscaling.ready" -}}
max({{ include "llm-inference.engine.readyReplicas" . }})
{{- end -}}

{{/*
Aggregate of a gauge over this release's replicas, guarded: dict root, aggregate (sum, count), metric, and averageSeconds
where each replica's value is a mean over time.
*/}}
{{- define "llm-inference.autoscaling.guarded" -}}
{{- $series := include "llm-inference.autoscaling.series" (dict "root" .root "metric" .metric) -}}
{{- $values := $series -}}
{{- with .averageSeconds }}{{ $values = printf "avg_over_time(%s[%ds])" $series (int .) }}{{ end -}}
{{- if .root.Values.autoscaling.prometheus.kubeStateMetrics -}}
{{- $ready := include "llm-inference.autoscaling.ready" .root -}}
(
  {{ .aggregate }}({{ $values }})
  unless on() (count({{ $series }}) < on() {{ $ready }})
)
or on() ({{ $ready }} == 0)
{{- else -}}
{{ .aggregate }}({{ $values }})
{{- end -}}
{{- end -}}

{{/*
A mean over time is steadier, and the scale-down window keeps the largest proposal: with noise, more replicas than the
load needs. The queue stays as it was last scraped, since it is what a burst shows first.
*/}}
{{- define "llm-inference.autoscaling.query.running" -}}
{{- include "llm-inference.autoscaling.guarded" (dict "root" . "aggregate" "sum" "metric" "running" "averageSeconds" .Values.autoscaling.averageSeconds) -}}
{{- end -}}

{{- define "llm-inference.autoscaling.query.waiting" -}}
{{- include "llm-inference.autoscaling.guarded" (dict "root" . "aggregate" "sum" "metric" "waiting") -}}
{{- end -}}

{{/* Sum, not mean: like requests, usage is divided by the replicas through the target per replica. */}}
{{- define "llm-inference.autoscaling.query.kv_cache" -}}
{{- include "llm-inference.autoscaling.guarded" (dict "root" . "aggregate" "sum" "metric" "kvCacheUsage") -}}
{{- end -}}

{{/* Replicas that report. */}}
{{- define "llm-inference.autoscaling.query.replicas" -}}
{{- include "llm-inference.autoscaling.guarded" (dict "root" . "aggregate" "count" "metric" "running") -}}
{{- end -}}

{{/*
Replicas' worth of tokens that are computed: unlike requests in flight, it does not depend on how many replicas share
them. Prompt tokens that the prefix cache answers cost next to nothing. Without two scrapes to compare it is 0 exactly
where the query of `running` finds nothing broken.
*/}}
{{- define "llm-inference.autoscaling.query.tokens" -}}
{{- $window := printf "[%ds]" (max (int .Values.autoscaling.averageSeconds) (mul 4 (int .Values.observability.scrapeIntervalSeconds))) -}}
{{- $prompts := printf "sum(rate(%s%s))" (include "llm-inference.autoscaling.series" (dict "root" . "metric" "promptTokens")) $window -}}
{{- $hits := printf "sum(rate(%s%s))" (include "llm-inference.autoscaling.series" (dict "root" . "metric" "prefixCacheHits")) $window -}}
{{- $answers := printf "sum(rate(%s%s))" (include "llm-inference.autoscaling.series" (dict "root" . "metric" "generationTokens")) $window -}}
(
  ({{ $prompts }} - ({{ $hits }} or vector(0))) / {{ .Derived.promptTokensPerSecond }}
  + {{ $answers }} / {{ .Derived.answerTokensPerSecond }}
)
or on() 0 * (
  {{- include "llm-inference.autoscaling.query.running" . | nindent 2 }}
)
{{- end -}}

{{/*
Replicas' worth of prompt tokens that wait: as many as a replica computes in `queuedPrompts.targetSeconds` are one. The
engine counts waiting requests; how long their prompts are is taken from those of the last scrapes, and from
`requestTokens` where there were none.
*/}}
{{- define "llm-inference.autoscaling.query.queued_prompts" -}}
{{- $window := printf "[%ds]" (mul 4 (int .Values.observability.scrapeIntervalSeconds)) -}}
{{- $prompts := printf "sum(rate(%s%s))" (include "llm-inference.autoscaling.series" (dict "root" . "metric" "promptTokens")) $window -}}
{{- $finished := printf "sum(rate(%s%s))" (include "llm-inference.autoscaling.series" (dict "root" . "metric" "requestsFinished")) $window -}}
(
  {{- include "llm-inference.autoscaling.query.waiting" . | nindent 2 }}
)
* on() (
  {{ $prompts }} / {{ $finished }} > 0
  or vector({{ int .Values.autoscaling.requestTokens }})
)
/ {{ include "llm-inference.autoscaling.number" (mulf .Derived.promptTokensPerSecond .Values.autoscaling.signals.queuedPrompts.targetSeconds) }}
{{- end -}}

{{/* Time between tokens, as the time to first token. */}}
{{- define "llm-inference.autoscaling.query.itl" -}}
{{- include "llm-inference.autoscaling.quantile" (dict "root" . "metric" "interTokenLatency" "quantile" .Values.autoscaling.signals.interTokenLatency.quantile) -}}
{{- end -}}

{{/*
Time to first token. A quantile is NaN while no request arrives: `>= 0` drops it, and then it is 0 exactly where the
guarded query finds nothing broken. The window spans 8 scrapes.
*/}}
{{- define "llm-inference.autoscaling.query.ttft" -}}
{{- include "llm-inference.autoscaling.quantile" (dict "root" . "metric" "timeToFirstToken" "quantile" .Values.autoscaling.signals.timeToFirstToken.quantile) -}}
{{- end -}}

{{/* A quantile of a histogram of seconds: dict root, metric, quantile. */}}
{{- define "llm-inference.autoscaling.quantile" -}}
{{- $buckets := include "llm-inference.autoscaling.series" (dict "root" .root "metric" .metric "suffix" "_bucket") -}}
{{- $window := printf "%ds" (mul 8 (int .root.Values.observability.scrapeIntervalSeconds)) -}}
(
  histogram_quantile({{ .quantile }}, sum by (le) (rate({{ $buckets }}[{{ $window }}]))) >= 0
)
or on() 0 * (
  {{- include "llm-inference.autoscaling.query.running" .root | nindent 2 }}
)
{{- end -}}

{{/*
What wakes the model from zero: the value, else requests that the gateway counts, else nothing.

A counter does not exist before its first increment, and increase() needs two samples, so that the first request alone
would go unseen: a series that was not there a window ago counts as asked for. Both families are read: the one counts
requests to a target, the other those that fell over from it.
*/}}
{{- define "llm-inference.autoscaling.wake" -}}
{{- $autoscaling := .Values.autoscaling -}}
{{- if $autoscaling.wake.query -}}
{{ $autoscaling.wake.query | trim }}
{{- else if and .Values.gateway.enabled (eq (int $autoscaling.minReplicas) 0) -}}
{{-   include "llm-inference.gateway.derive" . -}}
{{-   include (printf "llm-inference.gateway.%s.wake" .Values.gateway.type) . -}}
{{- end -}}
{{- end -}}

{{/* One element whatever it returns, and 0 where nobody asked yet and the series does not exist. */}}
{{- define "llm-inference.autoscaling.query.wake" -}}
sum((
  {{- include "llm-inference.autoscaling.wake" . | nindent 2 }}
) > 0)
or vector(0)
{{- end -}}

{{/* Query of the OpenTelemetry add-on: `sum(name{label=value})`, nothing more. */}}
{{- define "llm-inference.autoscaling.query.opentelemetry" -}}
{{- include "llm-inference.derive" .root -}}
sum({{ get .root.Derived.metrics .metric }}{ {{- .root.Catalog.engine.modelLabel }}={{ .root.Derived.modelName }}{{ include "llm-inference.engine.rankMatcher" . | replace "\"" "" -}} })
{{- end -}}
