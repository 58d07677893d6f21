{{/*
Kubernetes quantities as numbers. The schema allows the spellings below and no others, so that these never guess.
*/}}

{{/* Mebibytes of `512Mi`, `12Gi` or `1Ti`, as an integer; 0 for anything else. */}}
{{- define "llm-inference.quantity.mebibytes" -}}
{{- $text := toString . -}}
{{- $number := regexFind "^[0-9]+" $text | default "0" | int64 -}}
{{- if hasSuffix "Ti" $text -}}{{ mul $number 1048576 }}
{{- else if hasSuffix "Gi" $text -}}{{ mul $number 1024 }}
{{- else if hasSuffix "Mi" $text -}}{{ $number }}
{{- else -}}0
{{- end -}}
{{- end -}}

{{/* Thousandths of a CPU of `500m`, `3` or `1.5`, as an integer. */}}
{{- define "llm-inference.quantity.millicpu" -}}
{{- $text := toString . -}}
{{- if hasSuffix "m" $text -}}{{ trimSuffix "m" $text | int64 }}
{{- else -}}{{ mulf (float64 $text) 1000 | addf 0.5 | floor | int64 }}
{{- end -}}
{{- end -}}
