{{/* Contradictions in `autoscaling`. Arithmetic that KEDA or the HPA would accept and then act on wrongly is refused here. */}}
{{- define "llm-inference.autoscaling.violations" -}}
{{- $messages := list -}}
{{- $autoscaling := .Values.autoscaling -}}
{{- if and $autoscaling.enabled (not .Values.engine.enabled) -}}
{{-   $messages = append $messages "[LLM016] autoscaling.enabled: this release serves no model (engine.enabled is false), so there is nothing to scale; write false" -}}
{{- else if $autoscaling.enabled -}}
{{-   $messages = concat $messages
        (include "llm-inference.autoscaling.violations.replicas" . | fromJsonArray)
        (include "llm-inference.autoscaling.violations.formula" . | fromJsonArray)
        (include "llm-inference.autoscaling.violations.source" . | fromJsonArray) -}}
{{-   if $autoscaling.officeHours.enabled -}}
{{-     $messages = concat $messages (include "llm-inference.autoscaling.violations.officeHours" . | fromJsonArray) -}}
{{-   end -}}
{{-   $messages = append $messages (include "llm-inference.prerequisite.violation" (dict "root" . "api" "keda.sh/v1alpha1/ScaledObject" "key" "autoscaling.enabled")) -}}
{{- end -}}
{{- compact $messages | join "\n" -}}
{{- end -}}

{{/* Replica counts, scaling to zero, and how long it waits before. */}}
{{- define "llm-inference.autoscaling.violations.replicas" -}}
{{- $messages := list -}}
{{- $autoscaling := .Values.autoscaling -}}
{{- $minimum := int $autoscaling.minReplicas -}}
{{- $maximum := int $autoscaling.maxReplicas -}}
{{- if gt $minimum $maximum -}}
{{-   $messages = append $messages (printf "[LLM238] autoscaling.minReplicas: %d is more than maxReplicas %d; write at most %d" $minimum $maximum $maximum) -}}
{{- end -}}
{{- if gt (int $autoscaling.fallback.replicas) $maximum -}}
{{-   $messages = append $messages (printf "[LLM016] autoscaling.fallback.replicas: %d is more than maxReplicas; write at most %d" (int $autoscaling.fallback.replicas) $maximum) -}}
{{- end -}}
{{- if and (not .Derived.targetPerReplica) (or (not .Derived.smallestInstance) (not .Derived.kvBytesPerToken)) -}}
{{-   $messages = append $messages "[LLM017] autoscaling.targetPerReplica: cannot be derived without the model's shape and nodes.instanceTypes; write the requests one replica should hold" -}}
{{- end -}}
{{- if and $autoscaling.signals.tokens.enabled (not (and .Derived.promptTokensPerSecond .Derived.answerTokensPerSecond)) -}}
{{-   $messages = append $messages "[LLM017] autoscaling.signals.tokens: what a replica computes cannot be derived without a profile of the model and nodes.instanceTypes; write promptTokensPerSecond and answerTokensPerSecond" -}}
{{- end -}}
{{- if and $autoscaling.signals.queuedPrompts.enabled (not .Derived.promptTokensPerSecond) -}}
{{-   $messages = append $messages "[LLM017] autoscaling.signals.queuedPrompts: what a replica computes cannot be derived without a profile of the model and nodes.instanceTypes; write autoscaling.signals.tokens.promptTokensPerSecond" -}}
{{- end -}}
{{- if and $autoscaling.signals.interTokenLatency.enabled (ge (int .Derived.leastStepMilliseconds) (int $autoscaling.signals.interTokenLatency.targetMilliseconds)) -}}
{{-   $messages = append $messages (printf "[LLM226] autoscaling.signals.interTokenLatency.targetMilliseconds: a single request already takes %d ms per token on this GPU, and no number of replicas makes it faster; write more than %d" (int .Derived.leastStepMilliseconds) (int .Derived.leastStepMilliseconds)) -}}
{{- end -}}
{{- if and (not $autoscaling.targetPerReplica) (gt (int .Derived.leastStepMilliseconds) (int $autoscaling.stepMilliseconds)) -}}
{{-   $messages = append $messages (printf "[LLM226] autoscaling.stepMilliseconds: a single request already takes %d ms per token on this GPU, so no target reaches %d; write more than %d, or set autoscaling.targetPerReplica" (int .Derived.leastStepMilliseconds) (int $autoscaling.stepMilliseconds) (int .Derived.leastStepMilliseconds)) -}}
{{- end -}}
{{- if eq $minimum 0 -}}
{{-   if not (or (include "llm-inference.autoscaling.wake" .) $autoscaling.officeHours.enabled) -}}
{{-     $messages = append $messages "[LLM211] autoscaling.minReplicas: nothing starts the first replica, since the engine's metrics do not exist at zero; set autoscaling.wake.query, gateway.enabled or autoscaling.officeHours, or write at least 1" -}}
{{-   end -}}
{{-   if gt (float64 $autoscaling.activationTarget) 0.0 -}}
{{-     $messages = append $messages (printf "[LLM209] autoscaling.activationTarget: KEDA also stops the model at or below it, here while up to %v requests are still answered; write 0" $autoscaling.activationTarget) -}}
{{-   end -}}
{{-   if eq (int $autoscaling.fallback.replicas) 0 -}}
{{-     $messages = append $messages "[LLM224] autoscaling.fallback.replicas: with minReplicas 0 a metric outage would stop the model; write at least 1" -}}
{{-   end -}}
{{-   if eq $autoscaling.source "opentelemetry" -}}
{{-     $messages = append $messages "[LLM236] autoscaling.source: the OpenTelemetry scaler reports lost targets as 0, which with minReplicas 0 stops a loaded model; write prometheus, or minReplicas 1" -}}
{{-   else if not $autoscaling.prometheus.kubeStateMetrics -}}
{{-     $messages = append $messages "[LLM236] autoscaling.prometheus.kubeStateMetrics: without it nothing tells zero replicas from lost targets, so queries fail at zero and the model never starts; write true, or minReplicas 1" -}}
{{-   end -}}
{{-   range $key := list "cooldownSeconds" "initialCooldownSeconds" -}}
{{-     if lt (int (get $.Derived $key)) (int $.Derived.coldStartSeconds) -}}
{{-       $messages = append $messages (printf "[LLM201] autoscaling.%s: %d is less than the planned cold start of %d s, so a replica would be stopped while it loads; write at least %d" $key (int (get $.Derived $key)) (int $.Derived.coldStartSeconds) (int (mul 2 $.Derived.coldStartSeconds))) -}}
{{-     end -}}
{{-   end -}}
{{- else if $autoscaling.wake.query -}}
{{-   $messages = append $messages (printf "[LLM019] autoscaling.wake.query: has no effect with minReplicas %d, since the model never sleeps; remove it, or write minReplicas 0" $minimum) -}}
{{- end -}}
{{- toJson $messages -}}
{{- end -}}

{{/* The formula and its triggers. */}}
{{- define "llm-inference.autoscaling.violations.formula" -}}
{{- $messages := list -}}
{{- $autoscaling := .Values.autoscaling -}}
{{- if $autoscaling.formula -}}
{{-   $read := include "llm-inference.autoscaling.formula.names" $autoscaling.formula | fromJsonArray -}}
{{-   $triggers := include "llm-inference.autoscaling.triggers" . | fromJsonArray -}}
{{-   $switches := dict "tokens" "autoscaling.signals.tokens.enabled" "kv_cache" "autoscaling.signals.kvCache.enabled" "ttft" "autoscaling.signals.timeToFirstToken.enabled" "queued_prompts" "autoscaling.signals.queuedPrompts.enabled" "itl" "autoscaling.signals.interTokenLatency.enabled" "wake" "autoscaling.wake.query" "office_hours" "autoscaling.officeHours.enabled" -}}
{{-   range $read -}}
{{-     if not (has . $triggers) -}}
{{-       if hasKey $switches . -}}
{{-         $messages = append $messages (printf "[LLM203] autoscaling.formula: reads `%s`, which is off; set %s" . (get $switches .)) -}}
{{-       else -}}
{{-         $messages = append $messages (printf "[LLM203] autoscaling.formula: `%s` is no trigger; use running, waiting, tokens, kv_cache, ttft, queued_prompts, itl, replicas, wake or office_hours" .) -}}
{{-       end -}}
{{-     end -}}
{{-   end -}}
{{-   range $triggers -}}
{{-     if not (has . $read) -}}
{{-       $messages = append $messages (printf "[LLM202] autoscaling.formula: does not read `%s`, which then does nothing; use it, or switch off %s" . (get $switches .)) -}}
{{-     end -}}
{{-   end -}}
{{-   if not $read -}}
{{-     $messages = append $messages "[LLM221] autoscaling.formula: reads no trigger, so that no load changes anything; write e.g. running + waiting" -}}
{{-   end -}}
{{-   if and (contains "/" $autoscaling.formula) (not (contains "?" $autoscaling.formula)) -}}
{{-     $messages = append $messages "[LLM204] autoscaling.formula: divides without a guard, and KEDA turns x/0 into the least number there is; multiply by a constant, or write `b > 0 ? a / b : 0`" -}}
{{-   end -}}
{{-   if and (eq (int $autoscaling.minReplicas) 0) $read (not (has "running" $read)) -}}
{{-     $messages = append $messages "[LLM209] autoscaling.formula: without `running` the model is stopped while it still answers; add it, or write minReplicas 1" -}}
{{-   end -}}
{{-   if and (eq (int $autoscaling.minReplicas) 0) (not (or (has "wake" $read) (has "office_hours" $read))) (or (include "llm-inference.autoscaling.wake" .) $autoscaling.officeHours.enabled) -}}
{{-     $messages = append $messages "[LLM211] autoscaling.formula: reads neither `wake` nor `office_hours`, so nothing starts the first replica; add one" -}}
{{-   end -}}
{{- end -}}
{{- toJson $messages -}}
{{- end -}}

{{/* Where the numbers come from. */}}
{{- define "llm-inference.autoscaling.violations.source" -}}
{{- $messages := list -}}
{{- $autoscaling := .Values.autoscaling -}}
{{- $authentication := $autoscaling.prometheus.authentication -}}
{{- if eq .Values.observability.monitoring "none" -}}
{{-   $messages = append $messages "[LLM016] observability.monitoring: nothing scrapes the engine, while autoscaling reads its metrics; write serviceMonitor, podMonitor or annotations (the last also where something else already scrapes it)" -}}
{{- end -}}
{{- if eq $autoscaling.source "opentelemetry" -}}
{{-   $names := include "llm-inference.autoscaling.triggers" . | fromJsonArray -}}
{{-   if gt (int $autoscaling.averageSeconds) 0 -}}
{{-     $messages = append $messages "[LLM019] autoscaling.averageSeconds: has no effect with the OpenTelemetry scaler, whose queries know no mean over time; write 0, or autoscaling.source prometheus" -}}
{{-   end -}}
{{-   if $autoscaling.signals.tokens.enabled -}}
{{-     $messages = append $messages "[LLM016] autoscaling.signals.tokens.enabled: the OpenTelemetry scaler's queries know no rates; write false, or autoscaling.source prometheus" -}}
{{-   end -}}
{{-   range $signal := list "queuedPrompts" "interTokenLatency" -}}
{{-     if (get $autoscaling.signals $signal).enabled -}}
{{-       $messages = append $messages (printf "[LLM016] autoscaling.signals.%s.enabled: the OpenTelemetry scaler's queries know neither rates nor quantiles; write false, or autoscaling.source prometheus" $signal) -}}
{{-     end -}}
{{-   end -}}
{{-   if $autoscaling.signals.timeToFirstToken.enabled -}}
{{-     $messages = append $messages "[LLM016] autoscaling.signals.timeToFirstToken.enabled: the OpenTelemetry scaler's queries know no quantiles; write false, or autoscaling.source prometheus" -}}
{{-   else if has "replicas" $names -}}
{{-     $messages = append $messages "[LLM016] autoscaling.formula: `replicas` is only known to Prometheus; leave it out, or write autoscaling.source prometheus" -}}
{{-   end -}}
{{- end -}}
{{- if not $autoscaling.prometheus.serverAddress -}}
{{-   $messages = append $messages "[LLM017] autoscaling.prometheus.serverAddress: nowhere to ask; write the address of the Prometheus that scrapes the engine" -}}
{{- end -}}
{{- if has $authentication.mode (list "bearer" "basic") -}}
{{-   if not $authentication.existingSecret -}}
{{-     $keys := ternary "`bearerToken`" "`username` and `password`" (eq $authentication.mode "bearer") -}}
{{-     $messages = append $messages (printf "[LLM017] autoscaling.prometheus.authentication.existingSecret: mode %s needs a Secret with the key(s) %s; name it" $authentication.mode $keys) -}}
{{-   end -}}
{{- else if $authentication.existingSecret -}}
{{-   $messages = append $messages (printf "[LLM019] autoscaling.prometheus.authentication.existingSecret: has no effect with mode %s; remove it, or write mode bearer or basic" $authentication.mode) -}}
{{- end -}}
{{- if eq $authentication.mode "sigv4" -}}
{{-   if not $authentication.awsRegion -}}
{{-     $messages = append $messages "[LLM017] autoscaling.prometheus.authentication.awsRegion: mode sigv4 signs for a region; name that of the workspace" -}}
{{-   end -}}
{{- else if $authentication.awsRegion -}}
{{-   $messages = append $messages (printf "[LLM019] autoscaling.prometheus.authentication.awsRegion: has no effect with mode %s; remove it, or write mode sigv4" $authentication.mode) -}}
{{- end -}}
{{- toJson $messages -}}
{{- end -}}

{{/*
Office hours. KEDA takes the window as open when the next end comes before the next start, so days that do not belong
together keep it open for whole weekends.
*/}}
{{- define "llm-inference.autoscaling.violations.officeHours" -}}
{{- $messages := list -}}
{{- $hours := .Values.autoscaling.officeHours -}}
{{- $start := include "llm-inference.cron" $hours.start -}}
{{- $end := include "llm-inference.cron" $hours.end -}}
{{- range $key, $parsed := dict "start" $start "end" $end -}}
{{-   if not $parsed -}}
{{-     $messages = append $messages (printf "[LLM237] autoscaling.officeHours.%s: `%s` is no cron schedule; write minute, hour, day of month, month and day of week (0 or sun is Sunday), e.g. `0 8 * * 1-5`" $key (get $hours $key)) -}}
{{-   end -}}
{{- end -}}
{{- if and $start $end -}}
{{-   $start = fromJsonArray $start -}}
{{-   $end = fromJsonArray $end -}}
{{-   $days := toJson (slice $start 2) -}}
{{-   if eq (toJson $start) (toJson $end) -}}
{{-     $messages = append $messages "[LLM206] autoscaling.officeHours.end: is the same moment as start, which KEDA refuses; write a later hour" -}}
{{-   else -}}
{{-     $overnight := false -}}
{{-     if and (eq 1 (len (index $start 0))) (eq 1 (len (index $start 1))) (eq 1 (len (index $end 0))) (eq 1 (len (index $end 1))) -}}
{{-       $from := add (mul 60 (index $start 1 | first)) (index $start 0 | first) -}}
{{-       $to := add (mul 60 (index $end 1 | first)) (index $end 0 | first) -}}
{{-       $overnight = lt $to $from -}}
{{-     end -}}
{{-     $expected := $days -}}
{{-     $write := printf "the days of start (`%s`)" (regexSplit `\s+` (trim $hours.start) -1 | last) -}}
{{-     if $overnight -}}
{{-       $next := list -}}
{{-       range index $start 4 }}{{ $next = append $next (printf "%d" (mod (add (int .) 1) 7)) }}{{ end -}}
{{-       $next = sortAlpha $next -}}
{{-       $write = printf "the days after those of start (`%s`)" (join "," $next) -}}
{{-       $expected = printf "[%s,%s,[%s]]" (index $start 2 | toJson) (index $start 3 | toJson) (join "," $next) -}}
{{-     end -}}
{{-     if ne $expected (toJson (slice $end 2)) -}}
{{-       $messages = append $messages (printf "[LLM206] autoscaling.officeHours.end: `%s` does not end each window that `%s` starts, so that replicas would stay up between them; write %s" $hours.end $hours.start $write) -}}
{{-     end -}}
{{-   end -}}
{{- end -}}
{{- /* Sprig turns an unknown timezone into UTC; where even New York is UTC, this machine has no timezone data and cannot tell. */ -}}
{{- $utc := list "UTC" "Etc/UTC" "UCT" "Etc/UCT" "Zulu" "Etc/Zulu" "Universal" "Etc/Universal" -}}
{{- $known := or (has $hours.timezone $utc) (ne "UTC" (dateInZone "MST" now $hours.timezone)) (eq "UTC" (dateInZone "MST" now "America/New_York")) -}}
{{- if or (not $known) (has $hours.timezone (list "" "Local")) -}}
{{-   $messages = append $messages (printf "[LLM207] autoscaling.officeHours.timezone: `%s` is no IANA timezone, and KEDA would stop all scaling over it; write e.g. Europe/Berlin or Etc/UTC" $hours.timezone) -}}
{{- end -}}
{{- if gt (int $hours.replicas) (int .Values.autoscaling.maxReplicas) -}}
{{-   $messages = append $messages (printf "[LLM016] autoscaling.officeHours.replicas: %d is more than maxReplicas; write at most %d" (int $hours.replicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- else if le (int $hours.replicas) (int .Values.autoscaling.minReplicas) -}}
{{-   $messages = append $messages (printf "[LLM019] autoscaling.officeHours.replicas: %d has no effect above minReplicas %d; write more, or switch officeHours off" (int $hours.replicas) (int .Values.autoscaling.minReplicas)) -}}
{{- end -}}
{{- toJson $messages -}}
{{- end -}}
