{{/*
Fill the `${...}` placeholders of an alert or dashboard file: dict root, text.

  metric roles        names of the engine version's metrics, from the catalog
  ${filter}           matchers of this release's engine series
  ${podFilter}        matchers of this release's pods, for series without a model label
  thresholds          from observability.alerts
*/}}
{{- define "llm-inference.observability.substitute" -}}
{{- include "llm-inference.derive" .root -}}
{{- $root := .root -}}
{{- $alerts := $root.Values.observability.alerts -}}
{{- $words := merge (dict
      "filter" (include "llm-inference.observability.filter" $root)
      "podFilter" (include "llm-inference.observability.podFilter" $root)
      "model" $root.Derived.modelName
      "namespace" $root.Release.Namespace
      "deployment" (include "llm-inference.engine.name" $root)
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
    ) $root.Derived.metrics -}}
{{- $text := .text -}}
{{- range $name, $value := $words -}}
{{-   $text = replace (printf "${%s}" $name) (toString $value) $text -}}
{{- end -}}
{{- $text -}}
{{- end -}}

{{/* Matchers of the engine's series of this release. */}}
{{- define "llm-inference.observability.filter" -}}
namespace="{{ .Release.Namespace }}",{{ .Catalog.engine.modelLabel }}="{{ .Derived.modelName }}"
{{- end -}}

{{/* Matchers of this release's engine pods. */}}
{{- define "llm-inference.observability.podFilter" -}}
namespace="{{ .Release.Namespace }}",pod=~"{{ include "llm-inference.engine.name" . }}-[0-9a-z]+-[0-9a-z]{5}"
{{- end -}}

{{/*
Groups of a PrometheusRule from an alert file: dict root, file, prefix. Adds severity labels and runbook links and
leaves out groups whose `when` is off in this release.
*/}}
{{- define "llm-inference.observability.groups" -}}
{{- $root := .root -}}
{{- $prefix := .prefix -}}
{{- $text := include "llm-inference.observability.substitute" (dict "root" $root "text" ($root.Files.Get .file)) -}}
{{- $groups := list -}}
{{- range $group := ($text | fromYaml).groups -}}
{{-   if or (ne (get $group "when") "autoscaling") $root.Values.autoscaling.enabled -}}
{{-     $rules := list -}}
{{-     range $rule := $group.rules -}}
{{-       $runbook := printf "%s/%s.md" ($root.Values.observability.alerts.runbookBaseUrl | trimSuffix "/") $rule.alert -}}
{{-       $annotations := dict "summary" $rule.summary "description" $rule.description "runbook_url" $runbook -}}
{{-       $made := dict "alert" $rule.alert "expr" $rule.expr "labels" (dict "severity" $rule.severity) "annotations" $annotations -}}
{{-       with get $rule "for" -}}{{- $_ := set $made "for" . -}}{{- end -}}
{{-       $rules = append $rules $made -}}
{{-     end -}}
{{-     $groups = append $groups (dict "name" (printf "%s.%s" $prefix $group.name) "rules" $rules) -}}
{{-   end -}}
{{- end -}}
{{- toYaml $groups -}}
{{- end -}}
