{{/* How to install what serves an API group. Versions are the newest ones this chart was tried with or read against. */}}
{{- define "llm-inference.prerequisite.install" -}}
{{- if eq . "keda.sh" -}}
helm upgrade --install keda keda --repo https://kedacore.github.io/charts --version 2.20.2 --namespace keda --create-namespace --wait
{{- else if eq . "monitoring.coreos.com" -}}
{{- /* Without the three settings its Prometheus sees only monitors and rules labelled `release: monitoring`. */ -}}
helm upgrade --install monitoring kube-prometheus-stack --repo https://prometheus-community.github.io/helm-charts --version 88.6.4 --namespace monitoring --create-namespace --wait --set prometheus.prometheusSpec.serviceMonitorSelectorNilUsesHelmValues=false,prometheus.prometheusSpec.podMonitorSelectorNilUsesHelmValues=false,prometheus.prometheusSpec.ruleSelectorNilUsesHelmValues=false
{{- else if has . (list "karpenter.sh" "karpenter.k8s.aws") -}}
Karpenter 1.8 to 1.15, by https://karpenter.sh/docs/getting-started/
{{- else if eq . "autoscaling.x-k8s.io" -}}
Karpenter 1.14 or newer with its CRDs and the feature gate CapacityBuffer (settings.featureGates.capacityBuffer=true), or write nodes.spareReplicas 0
{{- else if eq . "leaderworkerset.x-k8s.io" -}}
helm upgrade --install lws oci://registry.k8s.io/lws/charts/lws --version 0.9.0 --namespace lws-system --create-namespace --wait
{{- else if eq . "eks.amazonaws.com" -}}
EKS Auto Mode, by https://docs.aws.amazon.com/eks/latest/userguide/automode.html (or write nodes.provider karpenter)
{{- end -}}
{{- end -}}

{{/*
What must be in the cluster before this release: dict root, api (group/version/Kind), key (the value that asks for it).
Prints a violation where the API is missing.

Only a known cluster can lack an API: `helm template` and `helm lint` work offline with a fixed list of groups and
versions, without kinds, so `v1/Pod` is in the list exactly when it came from a cluster.
*/}}
{{- define "llm-inference.prerequisite.violation" -}}
{{- $apis := .root.Capabilities.APIVersions -}}
{{- if and ($apis.Has "v1/Pod") (not ($apis.Has .api)) -}}
[LLM012] {{ .key }}: this cluster does not serve {{ .api }}; install it first: {{ include "llm-inference.prerequisite.install" (splitList "/" .api | first) }}
{{- end -}}
{{- end -}}
