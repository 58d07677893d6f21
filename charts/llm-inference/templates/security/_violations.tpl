{{/* Contradictions in `security`, `aws` and `serviceAccount`. */}}
{{- define "llm-inference.security.violations" -}}
{{- if .Values.engine.enabled -}}
{{- $messages := list -}}
{{- $policy := .Values.security.networkPolicy -}}
{{- $aws := .Values.aws -}}
{{- if and (eq $aws.identity "irsa") (not $aws.roleArn) -}}
{{-   $messages = append $messages "[LLM017] aws.roleArn: irsa needs the role; write arn:aws:iam::<account>:role/<name>" -}}
{{- end -}}
{{- if and $aws.roleArn (ne $aws.identity "irsa") -}}
{{-   $messages = append $messages (printf "[LLM019] aws.roleArn: it is used by irsa only, and aws.identity is %s; remove it (podIdentity: create the association instead)" $aws.identity) -}}
{{- end -}}
{{- if and (eq $aws.identity "irsa") (not .Values.serviceAccount.create) -}}
{{-   $messages = append $messages "[LLM016] serviceAccount.create: irsa annotates the ServiceAccount that the chart makes; write true, or annotate yours and write aws.identity: podIdentity or none" -}}
{{- end -}}
{{- if and (ne $aws.identity "none") (not .Values.serviceAccount.create) (not .Values.serviceAccount.name) -}}
{{-   $messages = append $messages "[LLM017] serviceAccount.name: the role must not be given to every pod of the namespace (`default`); name a ServiceAccount, or let the chart create one" -}}
{{- end -}}
{{- if hasKey (.Values.serviceAccount.annotations | default dict) "eks.amazonaws.com/role-arn" -}}
{{-   $messages = append $messages "[LLM016] serviceAccount.annotations: the role belongs in aws.roleArn, with aws.identity: irsa; move it there" -}}
{{- end -}}
{{- if and .Values.serviceAccount.annotations (not .Values.serviceAccount.create) -}}
{{-   $messages = append $messages "[LLM019] serviceAccount.annotations: the chart makes no ServiceAccount to annotate; remove them, or set serviceAccount.create" -}}
{{- end -}}
{{- if $policy.enabled -}}
{{-   if not $policy.clientNamespaces -}}
{{-     $messages = append $messages "[LLM408] security.networkPolicy.clientNamespaces: nobody could reach the engine; name the namespaces of its clients or gateway" -}}
{{-   end -}}
{{-   if and (not $policy.scraperNamespace) (ne .Values.observability.monitoring "none") -}}
{{-     $messages = append $messages "[LLM408] security.networkPolicy.scraperNamespace: Prometheus could not scrape the engine; name its namespace" -}}
{{-   end -}}
{{-   if and (not $policy.egressCidrs) (ne .Values.weights.delivery "image") -}}
{{-     $messages = append $messages "[LLM408] security.networkPolicy.egressCidrs: weights could not be fetched; name the ranges of the bucket or hub, or 0.0.0.0/0" -}}
{{-   end -}}
{{- else if $policy.clientNamespaces -}}
{{-   $messages = append $messages "[LLM019] security.networkPolicy.clientNamespaces: it restricts nothing while security.networkPolicy.enabled is false; set that to true" -}}
{{- end -}}
{{- compact $messages | join "\n" -}}
{{- end -}}
{{- end -}}
