module llm-inference/generate/pins

go 1.26.6

// No program is built from this module: it pins the CustomResourceDefinitions of which
// ../schemas.py makes schemas, but which the embedded API server does not serve.
require (
	sigs.k8s.io/gateway-api v1.5.0
	sigs.k8s.io/gateway-api-inference-extension v1.6.0
)
