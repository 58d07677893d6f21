{{/*
Facts of `files/catalog`, read once per render.

  {{- include "llm-inference.catalog" . -}}   prints nothing; afterwards `.Catalog` of the root context holds
    engine        facts of `engine.type` (engines.yaml)
    engineVersion `engine.version`, else the newest that the catalog knows
    engines       engines.yaml by name
    facts         the rest of engines.yaml: deliveries, node, imagePull, nvmeMegabytesPerSecond
    model         facts of `model.id`, overlaid with `model.profile`; {} where unknown
    models        models.yaml by name
    modelKnown    whether the catalog or `model.profile` describes the model
    gpus          gpus.yaml by name
    instances     facts of each of `nodes.instanceTypes` that the catalog knows, by name
    instanceTypes those names, in the order of the values
    unknownInstanceTypes the others

The result is kept in the root context, which Helm hands to every template of a chart: parsing costs milliseconds,
and every template needs it.
*/}}
{{- define "llm-inference.catalog" -}}
{{- if not (hasKey . "Catalog") -}}
{{-   $facts := .Files.Get "files/catalog/engines.yaml" | fromYaml -}}
{{-   $models := get (.Files.Get "files/catalog/models.yaml" | fromYaml) "models" -}}
{{-   $profile := .Values.model.profile | default dict -}}
{{-   $known := get $models .Values.model.id | default dict -}}
{{-   $engine := get $facts.engines .Values.engine.type -}}
{{-   $instances := dict -}}
{{-   $found := list -}}
{{-   $unknown := list -}}
{{-   with .Values.nodes.instanceTypes -}}
{{- /* One line each in the file (a test holds it to that): parsing three lines instead of all saves half the time of a render's derivation. */ -}}
{{-     $text := $.Files.Get "files/catalog/instances.yaml" -}}
{{-     range $type := . -}}
{{-       $line := regexFind (printf "(?m)^  %s: .*$" (regexQuoteMeta $type)) $text -}}
{{-       if $line -}}
{{-         $_ := set $instances $type (get (fromYaml $line) $type) -}}
{{-         $found = append $found $type -}}
{{-       else -}}
{{-         $unknown = append $unknown $type -}}
{{-       end -}}
{{-     end -}}
{{-   end -}}
{{-   $catalog := dict
        "engine" $engine
        "engineVersion" (.Values.engine.version | default $engine.newest)
        "engines" $facts.engines
        "facts" $facts
        "model" (merge (deepCopy $profile) $known)
        "models" $models
        "modelKnown" (or (not (empty $known)) (not (empty $profile)))
        "gpus" (get (.Files.Get "files/catalog/gpus.yaml" | fromYaml) "gpus")
        "instances" $instances
        "instanceTypes" $found
        "unknownInstanceTypes" $unknown -}}
{{-   $_ := set . "Catalog" $catalog -}}
{{- end -}}
{{- end -}}

{{/* "true" where the engine's version has an ability of the catalog: dict root, ability. */}}
{{- define "llm-inference.engine.can" -}}
{{- include "llm-inference.catalog" .root -}}
{{- $ability := get .root.Catalog.engine.abilities .ability | default dict -}}
{{- include "llm-inference.engine.since" (dict "root" .root "facts" $ability) -}}
{{- end -}}

{{/* "true" where the engine's version lies within `since` and `until` of something in the catalog: dict root, facts ({}: not there). */}}
{{- define "llm-inference.engine.since" -}}
{{- if .facts -}}
{{-   $version := .root.Catalog.engineVersion -}}
{{-   $from := semverCompare (printf ">=%s" (get .facts "since" | default "0.0.0")) $version -}}
{{-   $until := or (not (hasKey .facts "until")) (semverCompare (printf "<%s" (get .facts "until" | default "999.0.0")) $version) -}}
{{-   if and $from $until -}}true{{- end -}}
{{- end -}}
{{- end -}}

{{/* Words of a refusal that name engine and version, and from which version on it would do: dict root, facts ({}: never). */}}
{{- define "llm-inference.engine.lacking" -}}
{{- $engine := .root.Catalog.engine -}}
{{- if .facts -}}
{{ $engine.title }} {{ .root.Catalog.engineVersion }} lacks it ({{ .facts.since }} and newer have it)
{{- else -}}
{{ $engine.title }} has no such thing
{{- end -}}
{{- end -}}
