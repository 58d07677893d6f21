{{/* Contradictions in `gateway`. */}}
{{- define "llm-inference.gateway.violations" -}}
{{- $gateway := .Values.gateway -}}
{{- if $gateway.enabled -}}
{{- include "llm-inference.gateway.derive" . -}}
{{- $messages := list -}}
{{- if not $gateway.masterKey.existingSecret -}}
{{-   $messages = append $messages "[LLM017] gateway.masterKey.existingSecret: without a key anybody who reaches the gateway could spend at the providers; name a Secret" -}}
{{- end -}}
{{- if and $gateway.teams $gateway.database.existingSecret -}}
{{-   $messages = append $messages "[LLM016] gateway.teams: with a database, teams and keys are made there, and those of the values would shut them out; write no teams, or no database" -}}
{{- end -}}
{{- if not .Gateway.models -}}
{{-   $messages = append $messages "[LLM017] gateway.models: this release serves no model (engine.enabled is false), so there is nothing in front of which to put a gateway; write models with their targets" -}}
{{- end -}}
{{- $identity := $gateway.aws.identity -}}
{{- if and (eq $identity "irsa") (not $gateway.aws.roleArn) -}}
{{-   $messages = append $messages "[LLM017] gateway.aws.roleArn: irsa needs the role; write arn:aws:iam::<account>:role/<name>" -}}
{{- end -}}
{{- if and $gateway.aws.roleArn (ne $identity "irsa") -}}
{{-   $messages = append $messages (printf "[LLM019] gateway.aws.roleArn: it is used by irsa only, and gateway.aws.identity is %s; remove it (podIdentity: create the association instead)" $identity) -}}
{{- end -}}
{{- if and (eq $identity "irsa") (not $gateway.serviceAccount.create) -}}
{{-   $messages = append $messages "[LLM016] gateway.serviceAccount.create: irsa annotates the ServiceAccount that the chart makes; write true, or annotate yours and write gateway.aws.identity: podIdentity or none" -}}
{{- end -}}
{{- if and (ne $identity "none") (not $gateway.serviceAccount.create) (not $gateway.serviceAccount.name) -}}
{{-   $messages = append $messages "[LLM017] gateway.serviceAccount.name: the role must not be given to every pod of the namespace (`default`); name a ServiceAccount, or let the chart create one" -}}
{{- end -}}
{{- if and .Values.security.networkPolicy.enabled (not .Values.engine.enabled) (not .Values.security.networkPolicy.clientNamespaces) -}}
{{-   $messages = append $messages "[LLM408] security.networkPolicy.clientNamespaces: nobody could reach the gateway; name the namespaces of its clients" -}}
{{- end -}}
{{- $exposure := $gateway.exposure -}}
{{- if ne $exposure.type "none" -}}
{{-   if not $exposure.host -}}
{{-     $messages = append $messages "[LLM017] gateway.exposure.host: without a name every request to the load balancer would be taken; write the host name of the gateway" -}}
{{-   end -}}
{{-   if and (eq $exposure.type "httpRoute") (not $exposure.httpRoute.gateway) -}}
{{-     $messages = append $messages "[LLM017] gateway.exposure.httpRoute.gateway: a route belongs to a Gateway; name it" -}}
{{-   end -}}
{{-   if and (eq $exposure.type "ingress") (ne $exposure.ingress.className "alb") (not $exposure.ingress.tlsSecret) -}}
{{-     $messages = append $messages "[LLM017] gateway.exposure.ingress.tlsSecret: keys and prompts would travel in clear text; name the Secret with the certificate" -}}
{{-   end -}}
{{-   if and (eq $exposure.type "ingress") (eq $exposure.ingress.className "alb") .Values.security.networkPolicy.enabled (not $exposure.sourceCidrs) -}}
{{-     $messages = append $messages "[LLM408] gateway.exposure.sourceCidrs: the load balancer calls the pods from its subnets, which the network policy shuts out; write their ranges" -}}
{{-   end -}}
{{-   $api := ternary "networking.k8s.io/v1/Ingress" "gateway.networking.k8s.io/v1/HTTPRoute" (eq $exposure.type "ingress") -}}
{{-   $messages = append $messages (include "llm-inference.prerequisite.violation" (dict "root" . "api" $api "key" "gateway.exposure.type")) -}}
{{- end -}}
{{- if and $gateway.classes .Values.engine.enabled (ne .Values.engine.schedulingPolicy "priority") -}}
{{-   $messages = append $messages "[LLM016] gateway.classes: the engine refuses a request with a priority unless it schedules by it; write engine.schedulingPolicy: priority" -}}
{{- end -}}
{{- range $name, $model := .Gateway.models -}}
{{-   range $class, $_ := $gateway.classes -}}
{{-     if hasKey $.Gateway.models (printf "%s-%s" $name $class) -}}
{{-       $messages = append $messages (printf "[LLM016] gateway.models.%s-%s: has the name of class %s of %s; write another" $name $class $class $name) -}}
{{-     end -}}
{{-   end -}}
{{-   $names := list -}}
{{-   range $target := $model.targets -}}
{{-     $key := printf "gateway.models.%s.targets.%s" $name $target.name -}}
{{-     if has $target.name $names -}}
{{-       $messages = append $messages (printf "[LLM016] %s: two targets of this model have the name; write another" $key) -}}
{{-     end -}}
{{-     $names = append $names $target.name -}}
{{-     if and (eq $target.type "own") (not $.Values.engine.enabled) -}}
{{-       $messages = append $messages (printf "[LLM016] %s: type own is this release's engine, and engine.enabled is false; write type openai with the url of another release" $key) -}}
{{-     end -}}
{{-     if and (eq $target.type "openai") (not $target.url) -}}
{{-       $messages = append $messages (printf "[LLM017] %s: type openai needs the url; write e.g. http://model.namespace.svc/v1" $key) -}}
{{-     end -}}
{{-     if and (eq $target.type "bedrock") (not $target.region) -}}
{{-       $messages = append $messages (printf "[LLM017] %s: type bedrock needs the region; write e.g. eu-central-1" $key) -}}
{{-     end -}}
{{-     if and (eq $target.type "bedrock") (eq $identity "none") -}}
{{-       $messages = append $messages (printf "[LLM017] gateway.aws.identity: %s is Amazon Bedrock, which asks for AWS credentials; write podIdentity or irsa" $key) -}}
{{-     end -}}
{{-     if and (ne $target.type "bedrock") $target.region -}}
{{-       $messages = append $messages (printf "[LLM019] %s: region is used by bedrock only; remove it" $key) -}}
{{-     end -}}
{{-     if and (eq $target.type "bedrock") $target.url -}}
{{-       $messages = append $messages (printf "[LLM019] %s: bedrock is reached by its region, not by url; remove url" $key) -}}
{{-     end -}}
{{-     if and (eq $target.type "bedrock") $target.existingSecret -}}
{{-       $messages = append $messages (printf "[LLM019] %s: bedrock is reached with the pods' AWS role, not with a key; remove existingSecret" $key) -}}
{{-     end -}}
{{-   end -}}
{{-   range $other, $_ := $.Gateway.models -}}
{{-     if regexMatch (printf "^%s-tier-[0-9]+$" (regexQuoteMeta $name)) $other -}}
{{-       $messages = append $messages (printf "[LLM016] gateway.models.%s: has the name of a tier of %s; write another" $other $name) -}}
{{-     end -}}
{{-   end -}}
{{- end -}}
{{- if eq $gateway.type "bifrost" }}{{ $messages = concat $messages (include "llm-inference.gateway.bifrost.violations" . | fromJsonArray) }}{{ end -}}
{{- compact $messages | join "\n" -}}
{{- end -}}
{{- end -}}
