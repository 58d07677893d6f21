{{/* Rules that the network policies share. */}}

{{/* The cluster's DNS, as a YAML list of egress rules. */}}
{{- define "llm-inference.security.names" -}}
# Names: the cluster's DNS, and NodeLocal DNSCache.
- to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: kube-system
    - ipBlock:
        cidr: 169.254.20.10/32
  ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- end -}}

{{/* What pods that fetch weights or credentials may reach, as a YAML list of egress rules. */}}
{{- define "llm-inference.security.egress" -}}
{{- $policy := .Values.security.networkPolicy -}}
{{ include "llm-inference.security.names" . }}
{{- with $policy.egressCidrs }}
# Buckets, hub and AWS APIs.
- to:
    {{- range . }}
    - ipBlock:
        cidr: {{ . | quote }}
    {{- end }}
  ports:
    - {port: 443, protocol: TCP}
    {{- range include "llm-inference.security.endpointPorts" $ | fromJsonArray }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end }}
{{- with include "llm-inference.security.endpointPorts" . | fromJsonArray }}
# The endpoint may be a Service of this cluster, which an address range does not cover.
- to:
    - namespaceSelector: {}
  ports:
    {{- range . }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end }}
{{- if eq .Values.aws.identity "podIdentity" }}
# EKS Pod Identity agent on the node.
- to:
    - ipBlock:
        cidr: 169.254.170.23/32
    - ipBlock:
        cidr: fd00:ec2::23/128
  ports:
    - {port: 80, protocol: TCP}
{{- end }}
{{- end -}}

{{/*
Ports of `endpointUrl` and of the hub's mirror as a JSON list, where they are used. Policies apply behind Services: a
Service in this cluster whose port differs from its pods' port needs a rule of its own.
*/}}
{{- define "llm-inference.security.endpointPorts" -}}
{{- $ports := list -}}
{{- $source := .Values.weights.source -}}
{{- range $url := list $source.s3.endpointUrl $source.huggingface.endpoint -}}
{{-   if $url -}}
{{-     $host := regexReplaceAll "^https?://([^/]+).*$" $url "${1}" -}}
{{-     $port := regexFind ":[0-9]+$" $host | trimPrefix ":" | default (ternary "443" "80" (hasPrefix "https" $url)) | int -}}
{{-     if not (has $port $ports) -}}{{- $ports = append $ports $port -}}{{- end -}}
{{-   end -}}
{{- end -}}
{{- toJson $ports -}}
{{- end -}}
