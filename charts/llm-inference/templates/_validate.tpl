{{/*
Collects every contradiction in the values and fails once, with all of them.

Each component has a template `llm-inference.<component>.violations` beside its objects, which prints one line per
contradiction: `[LLM###] <values key>: <what is wrong>; <what to write>`. The ids are those of chartproof's rules.
`llm-inference.derive` calls this, so that the first template that runs reports everything. The roles of a disaggregated
release are checked one by one; what only one of them says names it.
*/}}
{{- define "llm-inference.validate" -}}
{{- $lines := list -}}
{{- $contexts := .Roles | default (list .) -}}
{{- range $component := list "model" "engine" "weights" "security" "autoscaling" "nodes" "observability" -}}
{{-   $template := printf "llm-inference.%s.violations" $component -}}
{{-   $said := list -}}
{{-   range $context := $contexts -}}{{- $said = append $said (include $template $context | splitList "\n") -}}{{- end -}}
{{-   range $index, $found := $said -}}
{{-     range $found -}}
{{-       $line := trim . -}}
{{-       if and (gt (len $said) 1) (not (and (has . (first $said)) (has . (last $said)))) -}}
{{-         $line = regexReplaceAll "^(\\[LLM[0-9]+\\]) " $line (printf "${1} disaggregation.%s: " (index $contexts $index).Role) -}}
{{-       end -}}
{{-       if and $line (not (has $line $lines)) -}}{{- $lines = append $lines $line -}}{{- end -}}
{{-     end -}}
{{-   end -}}
{{- end -}}
{{- range $component := list "gateway" "disaggregation" "multiNode" "operations" -}}
{{-   range include (printf "llm-inference.%s.violations" $component) $ | splitList "\n" -}}
{{-     with trim . -}}{{- $lines = append $lines . -}}{{- end -}}
{{-   end -}}
{{- end -}}
{{- if $lines -}}
{{-   fail (printf "\n\n%d contradiction(s) in the values:\n\n  %s\n\nExplain one with: chartproof explain <id>" (len $lines) (join "\n  " $lines)) -}}
{{- end -}}
{{- end -}}
