module llm-inference/toolchain/crds

go 1.26.0

// No program is built from this module: it pins the sources of the
// CustomResourceDefinitions that the embedded API server serves and from which
// schemas/ is generated.
require (
	github.com/aws/karpenter-provider-aws v1.14.1
	github.com/kedacore/keda/v2 v2.21.0
	github.com/prometheus-operator/prometheus-operator v0.94.0
	sigs.k8s.io/karpenter v1.14.1
	sigs.k8s.io/lws v0.9.0
)
