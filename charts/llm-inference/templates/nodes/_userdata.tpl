{{/*
User data of Bottlerocket. Every table sits below `settings`: Karpenter drops others without a word. Percentages are
strings, because Karpenter decodes them into one and refuses to launch a node otherwise. The parallel settings are all
stated: SOCI's own defaults (3 downloads, 1 unpack) are slower than no SOCI at all.
*/}}
{{- define "llm-inference.nodes.userData.bottlerocket" -}}
{{- with .Values.nodes.nodeClass -}}
[settings.kubernetes]
image-gc-high-threshold-percent = "{{ .imageGarbageCollection.highThresholdPercent }}"
image-gc-low-threshold-percent = "{{ .imageGarbageCollection.lowThresholdPercent }}"

[settings.container-runtime]
snapshotter = "soci"

[settings.container-runtime-plugins.soci-snapshotter]
pull-mode = "parallel-pull-unpack"

[settings.container-runtime-plugins.soci-snapshotter.parallel-pull-unpack]
max-concurrent-downloads = -1
max-concurrent-downloads-per-image = {{ .soci.maxConcurrentDownloadsPerImage }}
concurrent-download-chunk-size = "{{ .soci.concurrentDownloadChunkSize }}"
max-concurrent-unpacks = -1
max-concurrent-unpacks-per-image = {{ .soci.maxConcurrentUnpacksPerImage }}
discard-unpacked-layers = true
{{- if gt (int .timeSlicing.replicas) 1 }}

[settings.kubelet-device-plugins.nvidia]
device-sharing-strategy = "time-slicing"

# Renamed by default, which leaves pods that ask for nvidia.com/gpu without any.
[settings.kubelet-device-plugins.nvidia.time-slicing]
replicas = {{ .timeSlicing.replicas }}
rename-by-default = false
fail-requests-greater-than-one = true
{{- end }}
{{- end -}}
{{- end -}}

{{/*
User data of AL2023: a NodeConfig, which Karpenter puts before its own. FastImagePull is SOCI with the image's own
parallel settings (20 downloads, 16mb, 12 unpacks).
*/}}
{{- define "llm-inference.nodes.userData.al2023" -}}
{{- with .Values.nodes.nodeClass -}}
apiVersion: node.eks.aws/v1alpha1
kind: NodeConfig
spec:
  featureGates:
    FastImagePull: true
  kubelet:
    config:
      imageGCHighThresholdPercent: {{ .imageGarbageCollection.highThresholdPercent }}
      imageGCLowThresholdPercent: {{ .imageGarbageCollection.lowThresholdPercent }}
{{- end -}}
{{- end -}}
