"""A real Kubernetes control plane on this machine, with GPU nodes that are only simulated."""
