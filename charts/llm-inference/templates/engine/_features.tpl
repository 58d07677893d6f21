{{/* Engine features that are switched on by values: what the engines are told of them, and what contradicts. */}}

{{/* `name=directory` of each LoRA adapter, as a JSON list; both engines take this form. */}}
{{- define "llm-inference.engine.adapters" -}}
{{- $words := list -}}
{{- range .Derived.additionalWeights -}}
{{-   if hasKey $.Values.engine.lora.adapters .name -}}
{{-     $words = append $words (printf "%s=%s" .name .directory) -}}
{{-   end -}}
{{- end -}}
{{- toJson $words -}}
{{- end -}}

{{/* Directory of the draft model; empty where there is none. */}}
{{- define "llm-inference.engine.draftModel" -}}
{{- range .Derived.additionalWeights -}}
{{-   if eq .container "download-draft-model" -}}{{ .directory }}{{- end -}}
{{- end -}}
{{- end -}}

{{/* Features against the engine, its version and each other; a JSON list. */}}
{{- define "llm-inference.engine.violations.features" -}}
{{- $messages := list -}}
{{- $engine := .Values.engine -}}
{{- $facts := .Catalog.engine -}}
{{- /* Abilities of the version: what asks for one, whether it does, and what to write instead. */ -}}
{{- $wanted := list
      (dict "key" "maxNumQueuedRequests" "ability" "maxNumQueuedRequests" "on" (gt (int64 $engine.maxNumQueuedRequests) 0) "write" "0")
      (dict "key" "lora.adapters" "ability" "lora" "on" (not (empty $engine.lora.adapters)) "write" "{}")
      (dict "key" "kvOffloadGibibytes" "ability" "kvOffload" "on" (gt (int64 $engine.kvOffloadGibibytes) 0) "write" "0")
      (dict "key" "compileCache.startupPlan" "ability" "startupPlan" "on" (eq (toString $engine.compileCache.startupPlan) "true") "write" "null")
      (dict "key" "toolCalling.autoChoice" "ability" "namedToolChoiceOnly" "on" (not $engine.toolCalling.autoChoice) "write" "true")
      (dict "key" "servedModelName" "ability" "severalServedNames" "on" (gt (len $engine.servedModelName) 1) "write" "one name") -}}
{{- range $wanted -}}
{{-   if and .on (not (include "llm-inference.engine.can" (dict "root" $ "ability" .ability))) -}}
{{-     $lacking := include "llm-inference.engine.lacking" (dict "root" $ "facts" (get $facts.abilities .ability | default dict)) -}}
{{-     $messages = append $messages (printf "[LLM019] engine.%s: %s; write %s" .key $lacking .write) -}}
{{-   end -}}
{{- end -}}
{{- /* Words that an engine does not have. */ -}}
{{- $choices := list
      (dict "key" "kvCacheDtype" "value" $engine.kvCacheDtype "known" $facts.kvCacheDtypes)
      (dict "key" "task" "value" $engine.task "known" $facts.tasks) -}}
{{- if ne $engine.structuredOutputBackend "auto" -}}
{{-   $choices = append $choices (dict "key" "structuredOutputBackend" "value" $engine.structuredOutputBackend "known" $facts.structuredOutputBackends) -}}
{{- end -}}
{{- range $choices -}}
{{-   if not (hasKey .known .value) -}}
{{-     $messages = append $messages (printf "[LLM145] engine.%s: %s has no `%s`; write %s" .key $facts.title .value (keys .known | sortAlpha | join " or ")) -}}
{{-   end -}}
{{- end -}}
{{- range $name := .Derived.servedModelNames -}}
{{-   if and (eq $engine.type "sglang") (contains ":" $name) -}}
{{-     $messages = append $messages (printf "[LLM016] engine.servedModelName: SGLang parts `%s` at the colon into model and adapter, and does not start; write a name without one" $name) -}}
{{-   end -}}
{{-   if hasKey $engine.lora.adapters $name -}}
{{-     $messages = append $messages (printf "[LLM016] engine.lora.adapters.%s: it is also a name of the model, which clients could no longer ask for; write another name" $name) -}}
{{-   end -}}
{{- end -}}
{{- if not $engine.lora.adapters -}}
{{-   if or (ne (int64 $engine.lora.maxRank) 16) (ne (int64 $engine.lora.maxActive) 4) -}}
{{-     $messages = append $messages "[LLM019] engine.lora.maxRank: maxRank and maxActive do nothing without engine.lora.adapters; name adapters, or remove both" -}}
{{-   end -}}
{{- end -}}
{{- range $name, $adapter := $engine.lora.adapters -}}
{{-   if eq $name "draft" -}}
{{-     $messages = append $messages "[LLM016] engine.lora.adapters.draft: the draft model has this name; write another" -}}
{{-   end -}}
{{-   if has $adapter.revision (list "main" "master" "latest" "head" "HEAD") -}}
{{-     $messages = append $messages (printf "[LLM413] engine.lora.adapters.%s.revision: `%s` moves, and with it what is served; write the commit" $name $adapter.revision) -}}
{{-   end -}}
{{- end -}}
{{- if and $engine.kvOffloadGibibytes (not $engine.enablePrefixCaching) -}}
{{-   $messages = append $messages "[LLM109] engine.kvOffloadGibibytes: it keeps what the prefix cache has no room for, and engine.enablePrefixCaching is off; write 0, or switch that on" -}}
{{- end -}}
{{- if not (or $engine.toolCalling.autoChoice $engine.toolCalling.parser) -}}
{{-   $messages = append $messages "[LLM019] engine.toolCalling.autoChoice: there are no tool calls without engine.toolCalling.parser; write the parser, or true" -}}
{{- end -}}
{{- if ne $engine.task "generate" -}}
{{-   $generating := dict
        "toolCalling.parser" $engine.toolCalling.parser
        "reasoningParser" $engine.reasoningParser
        "speculative.method" $engine.speculative.method
        "structuredOutputBackend" (ternary "" $engine.structuredOutputBackend (eq $engine.structuredOutputBackend "auto")) -}}
{{-   range $key, $value := $generating -}}
{{-     if $value -}}
{{-       $messages = append $messages (printf "[LLM019] engine.%s: a model with engine.task %s writes no text; remove it" $key $engine.task) -}}
{{-     end -}}
{{-   end -}}
{{-   if and $.Values.autoscaling.enabled $.Values.autoscaling.signals.tokens.enabled -}}
{{-     $messages = append $messages (printf "[LLM016] autoscaling.signals.tokens.enabled: a model with engine.task %s makes no tokens to count; write false" $engine.task) -}}
{{-   end -}}
{{-   range $signal := list "queuedPrompts" "interTokenLatency" -}}
{{-     if and $.Values.autoscaling.enabled (get $.Values.autoscaling.signals $signal).enabled -}}
{{-       $messages = append $messages (printf "[LLM016] autoscaling.signals.%s.enabled: a model with engine.task %s makes no tokens one by one; write false" $signal $engine.task) -}}
{{-     end -}}
{{-   end -}}
{{-   if and $.Values.autoscaling.enabled $.Values.autoscaling.signals.timeToFirstToken.enabled -}}
{{-     $messages = append $messages (printf "[LLM016] autoscaling.signals.timeToFirstToken.enabled: a model with engine.task %s has no first token; write false" $engine.task) -}}
{{-   end -}}
{{- end -}}
{{- $messages = concat $messages (include "llm-inference.engine.violations.speculative" . | fromJsonArray) -}}
{{- toJson $messages -}}
{{- end -}}

{{/* Speculative decoding; a JSON list. */}}
{{- define "llm-inference.engine.violations.speculative" -}}
{{- $messages := list -}}
{{- $speculative := .Values.engine.speculative -}}
{{- $draft := $speculative.draft -}}
{{- $drafted := or $draft.source $draft.revision $draft.gigabytes -}}
{{- if $speculative.method -}}
{{-   $method := get .Catalog.engine.speculativeMethods $speculative.method -}}
{{-   if not (include "llm-inference.engine.since" (dict "root" . "facts" $method)) -}}
{{-     $messages = append $messages (printf "[LLM019] engine.speculative.method: `%s`: %s; write ngram, or leave it empty" $speculative.method (include "llm-inference.engine.lacking" (dict "root" . "facts" $method))) -}}
{{-   end -}}
{{-   if $method.draft -}}
{{-     range $key := list "source" "revision" "gigabytes" -}}
{{-       if not (get $draft $key) -}}
{{-         $messages = append $messages (printf "[LLM017] engine.speculative.draft.%s: method %s needs a second model; write its source, pinned revision and size in GB" $key $speculative.method) -}}
{{-       end -}}
{{-     end -}}
{{-     if has $draft.revision (list "main" "master" "latest" "head" "HEAD") -}}
{{-       $messages = append $messages (printf "[LLM413] engine.speculative.draft.revision: `%s` moves, and with it what is served; write the commit" $draft.revision) -}}
{{-     end -}}
{{-   else if $drafted -}}
{{-     $messages = append $messages (printf "[LLM019] engine.speculative.draft: method %s guesses without a second model; remove it" $speculative.method) -}}
{{-   end -}}
{{-   if and (eq .Values.engine.type "sglang") (eq $speculative.method "draftModel") .Values.engine.lora.adapters -}}
{{-     $messages = append $messages "[LLM016] engine.speculative.method: SGLang does not combine LoRA with a draft model; write ngram, eagle or eagle3, or remove the adapters" -}}
{{-   end -}}
{{- else if or $drafted (ne (int64 $speculative.tokens) 3) -}}
{{-   $messages = append $messages "[LLM019] engine.speculative.method: tokens and draft do nothing without a method; write one, or remove both" -}}
{{- end -}}
{{- toJson $messages -}}
{{- end -}}
