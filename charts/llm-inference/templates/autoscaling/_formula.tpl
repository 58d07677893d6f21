{{/*
The formula: one composite metric whose target per replica is `llm-inference.autoscaling.target`. Each term is written in
units of that target, so that the largest one decides; nothing is divided at run time, because KEDA turns x/0 into the
smallest number there is and the autoscaler then goes to its minimum.
*/}}

{{/* A number without needless digits: at most 4 decimals. */}}
{{- define "llm-inference.autoscaling.number" -}}
{{- $text := printf "%.4f" (float64 .) -}}
{{- regexReplaceAll "\\.?0+$" $text "" -}}
{{- end -}}

{{/* Requests (weighted) that one replica should hold. */}}
{{- define "llm-inference.autoscaling.target" -}}
{{- include "llm-inference.derive" . -}}
{{- .Derived.targetPerReplica -}}
{{- end -}}

{{/* The formula that is rendered: the user's, or the one of the signals that are on. */}}
{{- define "llm-inference.autoscaling.formula" -}}
{{- $autoscaling := .Values.autoscaling -}}
{{- if $autoscaling.formula -}}
{{-   $autoscaling.formula | trim -}}
{{- else -}}
{{-   $target := include "llm-inference.autoscaling.target" . | int -}}
{{-   $terms := list "running" -}}
{{-   if gt (float64 $autoscaling.waitingWeight) 0.0 -}}
{{-     $weight := include "llm-inference.autoscaling.number" $autoscaling.waitingWeight -}}
{{-     $terms = list (ternary "running + waiting" (printf "running + waiting * %s" $weight) (eq $weight "1")) -}}
{{-   end -}}
{{-   with $autoscaling.signals.tokens -}}
{{-     if .enabled -}}
{{- /* The trigger's value is replicas' worth of work. */ -}}
{{-       $factor := divf (mulf 100.0 $target) (float64 .targetPercent) -}}
{{-       $terms = append $terms (printf "tokens * %s" (include "llm-inference.autoscaling.number" $factor)) -}}
{{-     end -}}
{{-   end -}}
{{-   with $autoscaling.signals.kvCache -}}
{{-     if .enabled -}}
{{-       $factor := divf (mulf 100.0 $target) (float64 .targetPercent) -}}
{{-       $terms = append $terms (printf "kv_cache * %s" (include "llm-inference.autoscaling.number" $factor)) -}}
{{-     end -}}
{{-   end -}}
{{-   with $autoscaling.signals.timeToFirstToken -}}
{{-     if .enabled -}}
{{- /* In proportion to the goal, at most twice the replicas that report: a queue makes it grow without bound. */ -}}
{{-       $factor := divf (float64 $target) (float64 .targetSeconds) -}}
{{-       $goal := include "llm-inference.autoscaling.number" .targetSeconds -}}
{{-       $terms = append $terms (printf "ttft > %s ? replicas * min(ttft * %s, %d) : 0" $goal (include "llm-inference.autoscaling.number" $factor) (mul 2 $target)) -}}
{{-     end -}}
{{-   end -}}
{{-   with $autoscaling.signals.queuedPrompts -}}
{{- /* The trigger's value is replicas' worth of prompts that wait. */ -}}
{{-     if .enabled }}{{ $terms = append $terms (printf "queued_prompts * %d" $target) }}{{ end -}}
{{-   end -}}
{{-   with $autoscaling.signals.interTokenLatency -}}
{{-     if .enabled -}}
{{- /* As for the first token. */ -}}
{{-       $goal := divf .targetMilliseconds 1000 -}}
{{-       $terms = append $terms (printf "itl > %s ? replicas * min(itl * %s, %d) : 0" (include "llm-inference.autoscaling.number" $goal) (include "llm-inference.autoscaling.number" (divf (float64 $target) $goal)) (mul 2 $target)) -}}
{{-     end -}}
{{-   end -}}
{{-   if $autoscaling.officeHours.enabled -}}
{{- /* The trigger's value is the number of replicas to keep: a floor, since the largest term decides. */ -}}
{{-     $terms = append $terms (printf "office_hours * %d" $target) -}}
{{-   end -}}
{{-   if include "llm-inference.autoscaling.wake" . -}}
{{- /* Starts the first replica and keeps it; what it then measures decides about more. */ -}}
{{-     $terms = append $terms "wake > 0 ? 1 : 0" -}}
{{-   end -}}
{{-   if eq (len $terms) 1 }}{{ first $terms }}{{ else }}max({{ join ", " $terms }}){{ end -}}
{{- end -}}
{{- end -}}

{{/* Names that a formula reads, as a JSON list: its words, less numbers, strings, functions, keywords and `let` names. */}}
{{- define "llm-inference.autoscaling.formula.names" -}}
{{- $text := regexReplaceAll `"[^"]*"|'[^']*'` . " " -}}
{{- $text = regexReplaceAll `\b[0-9][0-9.]*([eE][+-]?[0-9]+)?` $text " " -}}
{{- $local := list -}}
{{- range regexFindAll `\blet\s+[A-Za-z_][A-Za-z0-9_]*` $text -1 -}}
{{-   $local = append $local (regexReplaceAll `^let\s+` . "") -}}
{{- end -}}
{{- $text = regexReplaceAll `\.\s*[A-Za-z_][A-Za-z0-9_]*` $text " " -}}
{{- $text = regexReplaceAll `[A-Za-z_][A-Za-z0-9_]*\s*\(` $text "( " -}}
{{- $keywords := list "and" "or" "not" "in" "let" "if" "else" "true" "false" "nil" "matches" "contains" "startsWith" "endsWith" -}}
{{- $names := list -}}
{{- range regexFindAll `[A-Za-z_][A-Za-z0-9_]*` $text -1 -}}
{{-   if not (or (has . $keywords) (has . $local) (has . $names)) }}{{ $names = append $names . }}{{ end -}}
{{- end -}}
{{- toJson $names -}}
{{- end -}}

{{/*
Names of the triggers, in order, as a JSON list: `running`, `waiting` and `replicas` where the formula reads them, the
others where values switch them on (that the formula reads those too is checked with the violations).
*/}}
{{- define "llm-inference.autoscaling.triggers" -}}
{{- $autoscaling := .Values.autoscaling -}}
{{- $read := include "llm-inference.autoscaling.formula" . | include "llm-inference.autoscaling.formula.names" | fromJsonArray -}}
{{- $names := list -}}
{{- range list "running" "waiting" -}}
{{-   if has . $read }}{{ $names = append $names . }}{{ end -}}
{{- end -}}
{{- if $autoscaling.signals.tokens.enabled }}{{ $names = append $names "tokens" }}{{ end -}}
{{- if $autoscaling.signals.kvCache.enabled }}{{ $names = append $names "kv_cache" }}{{ end -}}
{{- if $autoscaling.signals.timeToFirstToken.enabled }}{{ $names = append $names "ttft" }}{{ end -}}
{{- if $autoscaling.signals.queuedPrompts.enabled }}{{ $names = append $names "queued_prompts" }}{{ end -}}
{{- if $autoscaling.signals.interTokenLatency.enabled }}{{ $names = append $names "itl" }}{{ end -}}
{{- if has "replicas" $read }}{{ $names = append $names "replicas" }}{{ end -}}
{{- if include "llm-inference.autoscaling.wake" . }}{{ $names = append $names "wake" }}{{ end -}}
{{- if $autoscaling.officeHours.enabled }}{{ $names = append $names "office_hours" }}{{ end -}}
{{- toJson $names -}}
{{- end -}}
