{{/*
The gateway's facts, once per render: `.Gateway` of the root context holds those of files/catalog/gateways.yaml and

  version, port
  models    by name: {targets: list}, with every default of a target filled in
  answerSeconds   longest answer in one piece
  graceSeconds    of the pods
*/}}
{{- define "llm-inference.gateway.derive" -}}
{{- if not (hasKey . "Gateway") -}}
{{-   $values := .Values.gateway -}}
{{-   $facts := get (.Files.Get "files/catalog/gateways.yaml" | fromYaml).gateways $values.type -}}
{{-   $models := dict -}}
{{-   $given := $values.models -}}
{{-   if and (not $given) .Values.engine.enabled -}}
{{-     range .Derived.servedModelNames -}}
{{-       $given = set (deepCopy $given) . (dict "targets" (list (dict "name" "own" "type" "own"))) -}}
{{-     end -}}
{{-   end -}}
{{-   range $name, $model := $given -}}
{{-     $targets := list -}}
{{-     range $target := $model.targets -}}
{{-       $defaults := dict "tier" 1 "weight" 1 "model" $name "url" "" "region" "" "existingSecret" "" "secretKey" "api-key" "inputDollarsPerMillionTokens" 0 "outputDollarsPerMillionTokens" 0 "healthCheck" false -}}
{{-       if eq $target.type "own" -}}
{{-         $key := $.Values.engine.apiKey -}}
{{-         $defaults = merge (dict "model" $.Derived.modelName "url" (include "llm-inference.gateway.engineUrl" $) "existingSecret" $key.existingSecret "secretKey" $key.key) $defaults -}}
{{-       end -}}
{{-       $whole := merge (deepCopy $target) $defaults -}}
{{- /* `merge` takes 0 for absent, and 0 takes a target out. */ -}}
{{-       if hasKey $target "weight" }}{{ $_ := set $whole "weight" $target.weight }}{{ end -}}
{{-       $targets = append $targets $whole -}}
{{-     end -}}
{{-     $_ := set $models $name (dict "targets" $targets) -}}
{{-   end -}}
{{-   $_ := set . "Gateway" (merge (dict
        "version" ($values.version | default $facts.newest)
        "port" ($values.port | default $facts.port | int64)
        "answerSeconds" ($values.failover.answerSeconds | default .Values.engine.drainSeconds | int64)
        "graceSeconds" (add 15 (int64 $values.longestStreamSeconds))
        "models" $models) $facts) -}}
{{- end -}}
{{- end -}}

{{/* URL of this release's engine, by its Service. */}}
{{- define "llm-inference.gateway.engineUrl" -}}
{{- $port := int64 .Values.engine.service.port -}}
http://{{ include "llm-inference.engine.service" . }}.{{ .Release.Namespace }}.svc{{ if ne $port 80 }}:{{ $port }}{{ end }}/v1
{{- end -}}

{{/* Image of the gateway. */}}
{{- define "llm-inference.gateway.image" -}}
{{- $image := .Values.gateway.image -}}
{{- $prefix := trimSuffix "/" .Values.nodes.imagePrefix -}}
{{- $repository := $image.repository | default .Gateway.image -}}
{{- if and $prefix (not (regexMatch "^[^/]+[.:][^/]*/" $repository)) -}}
{{- /* The prefix stands for one registry, Docker Hub; an image that names its own is not there. */ -}}
{{-   $repository = printf "%s/%s" $prefix $repository -}}
{{- end -}}
{{- if $image.digest -}}
{{ $repository }}@{{ $image.digest }}
{{- else -}}
{{ $repository }}:{{ $image.tag | default (printf "v%s" .Gateway.version) }}
{{- end -}}
{{- end -}}

{{/* Tiers of a model in their order, as a JSON list of numbers: the list of its targets. */}}
{{- define "llm-inference.gateway.tiers" -}}
{{- $tiers := dict -}}
{{- range . -}}{{- $_ := set $tiers (printf "%02d" (int .tier)) true -}}{{- end -}}
{{- $numbers := list -}}
{{- range keys $tiers | sortAlpha -}}{{- $numbers = append $numbers (trimPrefix "0" . | int) -}}{{- end -}}
{{- toJson $numbers -}}
{{- end -}}

{{/* Name of the variable that holds a target's key: dict model, target. */}}
{{- define "llm-inference.gateway.keyVariable" -}}
{{- printf "TARGET_KEY_%s" (printf "%s %s" .target.existingSecret .target.secretKey | sha256sum | trunc 8 | upper) -}}
{{- end -}}

{{/* Variables of the targets' keys, each Secret once, as YAML. */}}
{{- define "llm-inference.gateway.keyVariables" -}}
{{- $seen := dict -}}
{{- range $name, $model := .Gateway.models -}}
{{-   range $target := $model.targets -}}
{{-     if $target.existingSecret -}}
{{-       $variable := include "llm-inference.gateway.keyVariable" (dict "target" $target) -}}
{{-       $_ := set $seen $variable $target -}}
{{-     end -}}
{{-   end -}}
{{- end -}}
{{- range $variable, $target := $seen }}
- name: {{ $variable }}
  valueFrom:
    secretKeyRef:
      name: {{ $target.existingSecret | quote }}
      key: {{ $target.secretKey | quote }}
{{- end }}
{{- end -}}

{{/* Name of the variable that holds a team's key: its name. */}}
{{- define "llm-inference.gateway.teamVariable" -}}
{{- printf "TEAM_KEY_%s" (sha256sum . | trunc 8 | upper) -}}
{{- end -}}

{{/* Variables of the teams' keys, as YAML. */}}
{{- define "llm-inference.gateway.teamVariables" -}}
{{- range $team, $key := .Values.gateway.teams }}
- name: {{ include "llm-inference.gateway.teamVariable" $team }}
  valueFrom:
    secretKeyRef:
      name: {{ $key.existingSecret | quote }}
      key: {{ get $key "key" | default "api-key" | quote }}
{{- end }}
{{- end -}}

{{/* Teams by the variables with their keys, as JSON. */}}
{{- define "llm-inference.gateway.teams" -}}
{{- $teams := dict -}}
{{- range $team, $_ := .Values.gateway.teams -}}
{{-   $_ := set $teams (include "llm-inference.gateway.teamVariable" $team) $team -}}
{{- end -}}
{{- toPrettyJson $teams -}}
{{- end -}}

{{/* Annotations by which Prometheus finds the gateway's pods (`observability.monitoring: annotations`). */}}
{{- define "llm-inference.gateway.podAnnotations" -}}
{{- if eq .Values.observability.monitoring "annotations" -}}
prometheus.io/scrape: "true"
prometheus.io/port: {{ .Gateway.port | quote }}
prometheus.io/path: {{ .Gateway.metricsPath }}
{{- end -}}
{{- end -}}

{{/*
Ports of the targets beside this release's engine, as a JSON list. Policies apply behind Services: the engines of other
releases listen on their default port.
*/}}
{{- define "llm-inference.gateway.targetPorts" -}}
{{- $ports := dict -}}
{{- range .Gateway.models -}}
{{-   range .targets -}}
{{-     if eq .type "bedrock" -}}
{{-       $_ := set $ports "443" true -}}
{{-     else if eq .type "openai" -}}
{{-       $host := regexReplaceAll "^https?://([^/]+).*$" .url "${1}" -}}
{{-       $_ := set $ports (regexFind ":[0-9]+$" $host | trimPrefix ":" | default (ternary "443" "80" (hasPrefix "https" .url))) true -}}
{{-       if regexMatch "\\.svc(\\.|:|$)" $host }}{{ $_ := set $ports (toString (int64 $.Values.engine.port)) true }}{{ end -}}
{{-     end -}}
{{-   end -}}
{{- end -}}
{{- $numbers := list -}}
{{- range keys $ports | sortAlpha -}}{{- $numbers = append $numbers (int .) -}}{{- end -}}
{{- toJson $numbers -}}
{{- end -}}

{{/*
PromQL of requests for this release's model, above 0 from the first one on: dict root, series (list of selectors). The
window holds four scrapes and two polls of KEDA.
*/}}
{{- define "llm-inference.gateway.wakeOf" -}}
{{- $window := printf "%ds" (max (mul 4 (int .root.Values.observability.scrapeIntervalSeconds)) (mul 2 (int .root.Values.autoscaling.pollingIntervalSeconds))) -}}
{{- $terms := list -}}
{{- range .series -}}
{{-   $terms = append $terms (printf "sum(increase(%s[%s])) > 0" . $window) -}}
{{-   $terms = append $terms (printf "count(%s unless %s offset %s)" . . $window) -}}
{{- end -}}
{{ join "\nor " $terms }}
{{- end -}}

{{/* Names under which clients ask for this release's engine, as a regular expression. */}}
{{- define "llm-inference.gateway.ownNames" -}}
{{- $names := list -}}
{{- range $name, $model := .Gateway.models -}}
{{-   range $model.targets -}}
{{-     if eq .type "own" -}}
{{-       $names = append $names (regexQuoteMeta $name | replace "\\" "\\\\") -}}
{{-       range $class, $_ := $.Values.gateway.classes -}}
{{-         $names = append $names (printf "%s-%s" (regexQuoteMeta $name | replace "\\" "\\\\") $class) -}}
{{-       end -}}
{{-     end -}}
{{-   end -}}
{{- end -}}
{{ $names | uniq | join "|" }}
{{- end -}}

{{/* All names that clients ask for, as a regular expression. */}}
{{- define "llm-inference.gateway.names" -}}
{{- $names := list -}}
{{- range $name, $model := .Gateway.models -}}
{{-   $quoted := regexQuoteMeta $name | replace "\\" "\\\\" -}}
{{-   $names = append $names $quoted -}}
{{-   range $class, $_ := $.Values.gateway.classes }}{{ $names = append $names (printf "%s-%s" $quoted $class) }}{{ end -}}
{{- end -}}
{{ $names | uniq | join "|" }}
{{- end -}}

{{/* Matchers of the gateway's series: of its namespace, since what asks for a model there asks for this one. */}}
{{- define "llm-inference.gateway.filter" -}}
namespace="{{ .Release.Namespace }}"
{{- end -}}
