"""What a live cluster's nodes would do: kubelets, engines, GPUs, the pod network and its front door, in one process."""
