{{/*
Collects every contradiction in the values and fails once, with all of them.

Each component has a template `llm-inference.<component>.violations` beside its objects, which prints one line per
contradiction: `[LLM###] <values key>: <what is wrong>; <what to write>`. The ids are those of chartproof's rules.
`llm-inference.derive` calls this, so that the first template that runs reports everything.
*/}}
{{- define "llm-inference.validate" -}}
{{- $lines := list -}}
{{- range $component := list "model" "engine" "weights" "security" "autoscaling" "nodes" "observability" "gateway" -}}
{{-   range include (printf "llm-inference.%s.violations" $component) $ | splitList "\n" -}}
{{-     with trim . -}}{{- $lines = append $lines . -}}{{- end -}}
{{-   end -}}
{{- end -}}
{{- if $lines -}}
{{-   fail (printf "\n\n%d contradiction(s) in the values:\n\n  %s\n\nExplain one with: chartproof explain <id>" (len $lines) (join "\n  " $lines)) -}}
{{- end -}}
{{- end -}}
