{{/*
Fill the `${...}` placeholders of an alert or dashboard file: dict root, text, engine (default: the release's).

  metric roles        names of the engine's metrics, from the catalog
  ${filter}           matchers of this release's engine series
  ${schedulerFilter}  the same for what SGLang reports once per stage of a pipeline: the first stage
  ${allRequests}, ${allGeneratedTokens}   per second over an hour, of all engines that dashboards are drawn for
  ${podFilter}        matchers of this release's pods that answer requests, for series without a model label
  ${allPodsFilter}    matchers of all of its pods: those of a group that only compute, too
  ${readyReplicas}, ${wantedReplicas}   series of kube-state-metrics with the replicas that are ready, and that there should be
  thresholds          from observability.alerts
  ${gateway}, ${gatewayModels}   its Deployment, and the names clients ask for as a regular expression, where there is one
  ${podsFilter} and what else files/alerts/cost.yaml names   where costs are recorded (_cost.tpl)
*/}}
{{- define "llm-inference.observability.substitute" -}}
{{- include "llm-inference.derive" .root -}}
{{- $root := .root -}}
{{- $engine := get $root.Catalog.engines (get . "engine" | default $root.Values.engine.type) -}}
{{- $alerts := $root.Values.observability.alerts -}}
{{- $words := merge (dict
      "filter" (include "llm-inference.observability.filter" $root)
      "schedulerFilter" (printf "%s%s" (include "llm-inference.observability.filter" $root) (include "llm-inference.engine.rankMatcher" (dict "root" $root "metric" "running")))
      "allRequests" (include "llm-inference.observability.ofAllEngines" (dict "root" $root "metric" "requestsFinished"))
      "allGeneratedTokens" (include "llm-inference.observability.ofAllEngines" (dict "root" $root "metric" "generationTokens"))
      "podFilter" (include "llm-inference.observability.podFilter" $root)
      "allPodsFilter" (include "llm-inference.observability.allPodsFilter" $root)
      "readyReplicas" (include "llm-inference.engine.readyReplicas" $root)
      "wantedReplicas" (include "llm-inference.engine.wantedReplicas" $root)
      "model" $root.Derived.modelName
      "namespace" $root.Release.Namespace
      "scaledObject" (include "llm-inference.engine.name" $root)
      "waitingWarning" $alerts.waitingRequests.warning
      "waitingCritical" $alerts.waitingRequests.critical
      "endToEndWarningSeconds" $alerts.endToEndSeconds.warning
      "endToEndCriticalSeconds" $alerts.endToEndSeconds.critical
      "timeToFirstTokenSeconds" $alerts.timeToFirstTokenSeconds
      "failedWarningPercent" $alerts.failedPercent.warning
      "failedCriticalPercent" $alerts.failedPercent.critical
      "kvCachePercent" $alerts.kvCachePercent
      "gpuTemperatureCelsius" $alerts.gpuTemperatureCelsius
      "gpuPowerPercent" $alerts.gpuPowerPercent
      "gpuTaint" (keys $root.Values.nodes.taints | sortAlpha | first | default "nvidia.com/gpu")
    ) $engine.metrics -}}
{{- if $root.Values.gateway.enabled -}}
{{-   $_ := set $words "gateway" (include "llm-inference.gateway.name" $root) -}}
{{-   $_ := set $words "gatewayModels" (include "llm-inference.gateway.names" $root) -}}
{{- end -}}
{{- if include "llm-inference.cost.enabled" $root -}}
{{-   $words = merge $words (include "llm-inference.cost.words" $root | fromJson) -}}
{{- end -}}
{{- $text := .text -}}
{{- range $name, $value := $words -}}
{{-   $text = replace (printf "${%s}" $name) (toString $value) $text -}}
{{- end -}}
{{- $text -}}
{{- end -}}

{{/* Sum of a counter's rate over an hour and over engines: dict root, metric. Nothing where nothing is counted. */}}
{{- define "llm-inference.observability.ofAllEngines" -}}
{{- $terms := list -}}
{{- $engines := .root.Values.observability.dashboards.engines -}}
{{- range $engines -}}
{{-   $rate := printf "sum(rate(%s[1h]))" (get (get $.root.Catalog.engines .).metrics $.metric) -}}
{{-   $terms = append $terms (ternary (printf "(%s or vector(0))" $rate) $rate (gt (len $engines) 1)) -}}
{{- end -}}
({{ join " + " $terms }} > 0)
{{- end -}}

{{/* Matchers of the engine's series of this release. */}}
{{- define "llm-inference.observability.filter" -}}
namespace="{{ .Release.Namespace }}",{{ .Catalog.engine.modelLabel }}="{{ .Derived.modelName }}"
{{- /* Both roles serve the model: their pods tell them apart. */ -}}
{{- if hasKey . "Role" }},pod=~"{{ include "llm-inference.engine.podPattern" . }}"{{ end -}}
{{- end -}}

{{/* Matchers of all of this release's engine pods. */}}
{{- define "llm-inference.observability.allPodsFilter" -}}
namespace="{{ .Release.Namespace }}",pod=~"{{ include "llm-inference.engine.allPodsPattern" . }}"
{{- end -}}

{{/* Matchers of this release's engine pods that answer requests. */}}
{{- define "llm-inference.observability.podFilter" -}}
namespace="{{ .Release.Namespace }}",pod=~"{{ include "llm-inference.engine.podPattern" . }}"
{{- end -}}

{{/*
Groups of a PrometheusRule from an alert file: dict root, file, prefix, labels (of what is recorded), and variant, by which
expressions may differ (default: the engine). Adds severity labels
and runbook links and leaves out groups and rules whose `when` does not hold in this release, and rules without an
expression for its engine.
*/}}
{{- define "llm-inference.observability.groups" -}}
{{- $root := .root -}}
{{- $prefix := .prefix -}}
{{- $labels := get . "labels" | default dict -}}
{{- $variant := get . "variant" | default $root.Values.engine.type -}}
{{- $text := include "llm-inference.observability.substitute" (dict "root" $root "text" ($root.Files.Get .file)) -}}
{{- $groups := list -}}
{{- range $group := ($text | fromYaml).groups -}}
{{-   if include "llm-inference.observability.holds" (dict "root" $root "when" (get $group "when")) -}}
{{-     $rules := list -}}
{{-     range $rule := $group.rules -}}
{{-     $expression := include "llm-inference.observability.expression" (dict "expression" $rule.expr "engine" $variant) -}}
{{-     if and $expression (include "llm-inference.observability.holds" (dict "root" $root "when" (get $rule "when"))) -}}
{{-       $made := dict -}}
{{-       if hasKey $rule "record" -}}
{{-         $made = dict "record" $rule.record "expr" $expression "labels" (merge (get $rule "labels" | default dict) $labels) -}}
{{-       else -}}
{{-         $runbook := printf "%s/%s.md" ($root.Values.observability.alerts.runbookBaseUrl | trimSuffix "/") $rule.alert -}}
{{-         $annotations := dict "summary" $rule.summary "description" $rule.description "runbook_url" $runbook -}}
{{-         $made = dict "alert" $rule.alert "expr" $expression "labels" (dict "severity" $rule.severity) "annotations" $annotations -}}
{{-         with get $rule "for" -}}{{- $_ := set $made "for" . -}}{{- end -}}
{{-       end -}}
{{-       $rules = append $rules $made -}}
{{-     end -}}
{{-     end -}}
{{-     $groups = append $groups (dict "name" (printf "%s.%s" $prefix $group.name) "rules" $rules) -}}
{{-   end -}}
{{- end -}}
{{- toYaml $groups -}}
{{- end -}}

{{/* "true" where what `when` of a rule names holds in this release: dict root, when. */}}
{{- define "llm-inference.observability.holds" -}}
{{- $values := .root.Values -}}
{{- $generates := eq $values.engine.task "generate" -}}
{{- if eq .when "generate" -}}{{- if $generates -}}true{{- end -}}
{{- else if eq .when "autoscaling" -}}{{- if $values.autoscaling.enabled -}}true{{- end -}}
{{- else if eq .when "severalPrices" -}}{{- include "llm-inference.cost.severalPrices" .root -}}
{{- else if eq .when "onePrice" -}}{{- if not (include "llm-inference.cost.severalPrices" .root) -}}true{{- end -}}
{{- else if eq .when "capacityTypes" -}}{{- if and (include "llm-inference.cost.capacityTypes" .root) (include "llm-inference.cost.severalPrices" .root) -}}true{{- end -}}
{{- else if eq .when "tokens" -}}{{- if $generates -}}true{{- end -}}
{{- else if eq .when "prompts" -}}{{- if not $generates -}}true{{- end -}}
{{- else if eq .when "teams" -}}{{- if and $values.gateway.enabled (eq $values.gateway.type "litellm") -}}true{{- end -}}
{{- else if eq .when "budget" -}}{{- if $values.observability.cost.monthlyBudgetDollars -}}true{{- end -}}
{{- else if .when -}}{{- fail (printf "no such condition of a rule: %s" .when) -}}
{{- else -}}true
{{- end -}}
{{- end -}}

{{/* An expression that may differ by engine; empty where this engine has none: dict expression, engine. */}}
{{- define "llm-inference.observability.expression" -}}
{{- if kindIs "map" .expression -}}
{{- get .expression .engine -}}
{{- else -}}
{{- .expression -}}
{{- end -}}
{{- end -}}
