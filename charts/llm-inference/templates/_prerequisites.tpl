{{/*
What must be in the cluster before this release: dict root, api (group/version/Kind), key (the value that asks for it).
Prints a violation where the API is missing.

Only a known cluster can lack an API: `helm template` and `helm lint` work offline with a fixed list of groups and
versions, without kinds, so `v1/Pod` is in the list exactly when it came from a cluster.
*/}}
{{- define "llm-inference.prerequisite.violation" -}}
{{- $apis := .root.Capabilities.APIVersions -}}
{{- if and ($apis.Has "v1/Pod") (not ($apis.Has .api)) -}}
{{-   $install := dict
        "keda.sh" "helm upgrade --install keda keda --repo https://kedacore.github.io/charts --version 2.20.2 --namespace keda --create-namespace --wait"
        "karpenter.sh" "Karpenter 1.8 or newer: https://karpenter.sh/docs/getting-started/"
        "karpenter.k8s.aws" "Karpenter 1.8 or newer: https://karpenter.sh/docs/getting-started/"
        "monitoring.coreos.com" "helm upgrade --install monitoring kube-prometheus-stack --repo https://prometheus-community.github.io/helm-charts --namespace monitoring --create-namespace --wait" -}}
[LLM012] {{ .key }}: this cluster does not serve {{ .api }}; install it first: {{ get $install (splitList "/" .api | first) }}
{{- end -}}
{{- end -}}
