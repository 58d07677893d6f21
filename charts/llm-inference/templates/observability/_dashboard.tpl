{{/*
Grafana JSON of a dashboard in short form (files/dashboards): dict root, text, engine. Queries may differ by engine; what
an engine has no query for is left out.
Two panels of half the width a row, 8 units high; `width: 24` takes a row of its own.
*/}}
{{- define "llm-inference.observability.dashboard" -}}
{{- $source := include "llm-inference.observability.substitute" . | fromYaml -}}
{{- $engine := .engine -}}
{{- $facts := get .root.Catalog.engines $engine -}}
{{- $scoped := eq (get $source "scope") "engine" -}}
{{- $datasource := dict "type" "prometheus" "uid" "${datasource}" -}}
{{- $running := $facts.metrics.running -}}
{{- $panels := list -}}
{{- $x := 0 -}}
{{- $y := 0 -}}
{{- range $index, $panel := $source.panels -}}
{{-   $width := get $panel "width" | default 12 | int -}}
{{-   $targets := list -}}
{{-   range $query := $panel.queries -}}
{{-     with include "llm-inference.observability.expression" (dict "expression" $query.expr "engine" $engine) -}}
{{-       $reference := substr (len $targets) (int (add1 (len $targets))) "ABCDEFGH" -}}
{{-       $targets = append $targets (dict "refId" $reference "datasource" $datasource "expr" . "legendFormat" $query.legend) -}}
{{-     end -}}
{{-   end -}}
{{-   if $targets -}}
{{-   if gt (add $x $width) 24 -}}
{{-     $x = 0 -}}
{{-     $y = add $y 8 -}}
{{-   end -}}
{{-   $panels = append $panels (dict
        "id" (add1 $index)
        "type" "timeseries"
        "title" $panel.title
        "datasource" $datasource
        "gridPos" (dict "x" $x "y" $y "w" $width "h" 8)
        "fieldConfig" (dict "defaults" (dict "unit" $panel.unit "custom" (dict "fillOpacity" 10 "showPoints" "never")) "overrides" list)
        "options" (dict "legend" (dict "displayMode" "table" "placement" "bottom" "calcs" (list "lastNotNull" "max")) "tooltip" (dict "mode" "multi"))
        "targets" $targets) -}}
{{-   $x = add $x $width -}}
{{-   end -}}
{{- end -}}
{{- $variables := list
      (dict "name" "datasource" "label" "Prometheus" "type" "datasource" "query" "prometheus")
      (dict "name" "namespace" "label" "Namespace" "type" "query" "datasource" $datasource "refresh" 2 "includeAll" true "multi" true "allValue" ".*"
        "query" (printf "label_values(%s, namespace)" $running))
      (dict "name" "model" "label" "Model" "type" "query" "datasource" $datasource "refresh" 2 "includeAll" true "multi" true "allValue" ".*"
        "query" (printf "label_values(%s{namespace=~\"$namespace\"}, model_name)" $running)) -}}
{{- dict
      "uid" (ternary (printf "%s-%s" $source.uid $engine) $source.uid (and $scoped (ne $engine "vllm")))
      "title" (ternary (printf "%s (%s)" $source.title $facts.title) $source.title (and $scoped (ne $engine "vllm")))
      "description" $source.description
      "tags" (list "llm" "llm-inference")
      "timezone" "browser"
      "schemaVersion" 39
      "refresh" "30s"
      "time" (dict "from" "now-3h" "to" "now")
      "templating" (dict "list" $variables)
      "panels" $panels
    | toPrettyJson -}}
{{- end -}}
