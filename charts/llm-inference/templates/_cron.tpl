{{/*
Cron schedules of five fields as robfig/cron reads them, which KEDA and Karpenter use.
*/}}

{{/* Values of one field as a JSON list; empty where it does not parse: dict field, least, most, names (of least, least+1, ...). */}}
{{- define "llm-inference.cron.field" -}}
{{- $least := int .least -}}
{{- $most := int .most -}}
{{- $names := .names | default list -}}
{{- $values := dict -}}
{{- $valid := true -}}
{{- range $part := splitList "," (lower .field) -}}
{{-   range $index, $name := $names -}}
{{-     $part = regexReplaceAll (printf `\b%s\b` $name) $part (toString (add $least $index)) -}}
{{-   end -}}
{{-   if regexMatch `^(\*|\?|[0-9]{1,2}(-[0-9]{1,2})?)(/[1-9][0-9]?)?$` $part -}}
{{-     $range := regexReplaceAll "/.*$" $part "" -}}
{{-     $step := regexFind "/[0-9]+$" $part | trimPrefix "/" | default "1" | int -}}
{{-     $from := $least -}}
{{-     $to := $most -}}
{{-     if regexMatch "^[0-9]" $range -}}
{{-       $bounds := splitList "-" $range -}}
{{-       $from = first $bounds | int -}}
{{-       $to = ternary $most (last $bounds | int) (and (eq (len $bounds) 1) (contains "/" $part)) -}}
{{-     end -}}
{{-     if or (lt $from $least) (gt $to $most) (gt $from $to) -}}
{{-       $valid = false -}}
{{-     else -}}
{{-       range untilStep $from (int (add $to 1)) $step }}{{ $_ := set $values (printf "%02d" .) . }}{{ end -}}
{{-     end -}}
{{-   else -}}
{{-     $valid = false -}}
{{-   end -}}
{{- end -}}
{{- if $valid -}}
{{-   $sorted := list -}}
{{-   range keys $values | sortAlpha }}{{ $sorted = append $sorted (get $values .) }}{{ end -}}
{{-   toJson $sorted -}}
{{- end -}}
{{- end -}}

{{/* A schedule as a JSON list of the values of its fields (minute, hour, day of month, month, day of week); empty where it does not parse. */}}
{{- define "llm-inference.cron" -}}
{{- $months := list "jan" "feb" "mar" "apr" "may" "jun" "jul" "aug" "sep" "oct" "nov" "dec" -}}
{{- $days := list "sun" "mon" "tue" "wed" "thu" "fri" "sat" -}}
{{- $bounds := list (list 0 59) (list 0 23) (list 1 31) (list 1 12 $months) (list 0 6 $days) -}}
{{- $fields := regexSplit `\s+` (trim .) -1 -}}
{{- $parsed := list -}}
{{- if eq (len $fields) 5 -}}
{{-   range $index, $field := $fields -}}
{{-     $bound := index $bounds $index -}}
{{-     $names := list -}}
{{-     if eq (len $bound) 3 }}{{ $names = last $bound }}{{ end -}}
{{-     $values := include "llm-inference.cron.field" (dict "field" $field "least" (index $bound 0) "most" (index $bound 1) "names" $names) -}}
{{-     if $values }}{{ $parsed = append $parsed (fromJsonArray $values) }}{{ end -}}
{{-   end -}}
{{- end -}}
{{- if eq (len $parsed) 5 }}{{ toJson $parsed }}{{ end -}}
{{- end -}}
