{{/*
The pod of the engine: metadata and spec below `template`. Takes the root context, or that of a group's leader or worker
(templates/multi-node).
*/}}
{{- define "llm-inference.engine.podTemplate" -}}
{{- $engine := .Values.engine -}}
{{- $derived := .Derived -}}
{{- $gpus := $derived.gpusPerNode -}}
{{- $worker := include "llm-inference.multiNode.worker" . -}}
{{- $ready := include "llm-inference.engine.readyPath" . -}}
metadata:
  labels:
    {{- include "llm-inference.selectorLabels" (dict "root" . "component" "engine") | nindent 4 }}
    app.kubernetes.io/part-of: llm-inference
    {{- with merge (deepCopy $engine.podLabels) .Values.commonLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    {{- include "llm-inference.engine.podAnnotations" . | nindent 4 }}
spec:
  serviceAccountName: {{ include "llm-inference.serviceAccount.name" . | quote }}
  # IRSA and Pod Identity project their own token; nothing here talks to the Kubernetes API.
  automountServiceAccountToken: false
  # Variables of Services named vllm* would be read as the engine's own settings.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ $derived.gracePeriodSeconds }}
  {{- with $engine.priorityClassName }}
  priorityClassName: {{ . | quote }}
  {{- end }}
  {{- with $engine.runtimeClassName }}
  runtimeClassName: {{ . | quote }}
  {{- end }}
  {{- with $engine.imagePullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . | quote }}
    {{- end }}
  {{- end }}
  securityContext:
    {{- include "llm-inference.podSecurityContext" (dict "uid" (int64 .Values.security.runAsUser)) | nindent 4 }}
  {{- include "llm-inference.engine.scheduling" . | nindent 2 }}
  {{- with include "llm-inference.weights.initContainers" . }}
  initContainers:
    {{- . | nindent 4 }}
  {{- end }}
  containers:
    - name: {{ $engine.type }}{{ if $worker }}-worker{{ end }}
      image: {{ include "llm-inference.engine.image" . }}
      imagePullPolicy: {{ $engine.image.pullPolicy }}
      # Stated, because the image's entrypoint changed between versions.
      command: {{ .Catalog.engine.command | toJson }}
      args:
        {{- range include "llm-inference.engine.arguments" . | fromJsonArray }}
        - {{ . | quote }}
        {{- end }}
      env:
        {{- include "llm-inference.engine.environment" . | nindent 8 }}
      {{- if not $worker }}
      ports:
        - name: http
          containerPort: {{ int64 $engine.port }}
          protocol: TCP
        {{- if hasKey . "Role" }}
        - name: kv-transfer
          containerPort: {{ int64 .Values.disaggregation.sideChannelPort }}
          protocol: TCP
        {{- end }}
        {{- if eq (get . "GroupPart" | default "") "leader" }}
        - name: rendezvous
          containerPort: {{ int64 .Catalog.engine.rendezvousPort }}
          protocol: TCP
        {{- end }}
      {{- end }}
      resources:
        requests:
          cpu: {{ $engine.resources.cpu | quote }}
          memory: {{ $derived.memoryMebibytes }}Mi
          ephemeral-storage: {{ $derived.ephemeralGibibytes }}Gi
          {{ include "llm-inference.engine.gpuResource" . }}: {{ $gpus }}
          {{- with include "llm-inference.multiNode.resources" . | trim }}
          {{- . | nindent 10 }}
          {{- end }}
        limits:
          memory: {{ $derived.memoryMebibytes }}Mi
          {{ include "llm-inference.engine.gpuResource" . }}: {{ $gpus }}
          {{- with include "llm-inference.multiNode.resources" . | trim }}
          {{- . | nindent 10 }}
          {{- end }}
      securityContext:
        # Writable unless asked otherwise: FlashInfer may unpack kernels beside its own package.
        {{- include "llm-inference.containerSecurityContext" (dict "readOnlyRootFilesystem" .Values.security.readOnlyRootFilesystem) | nindent 8 }}
      {{- if $worker }}
      # No probes: it answers nobody, and the leader's cover the group. Where it dies, the group is made anew.
      lifecycle:
        preStop:
          exec:
            command:
              {{- include "llm-inference.multiNode.stay" . | nindent 14 }}
      {{- else }}
      {{- if eq $engine.type "sglang" }}
      # {{ $ready }} answers only after weights are loaded and the engine is warm. Liveness asks for a token, which also
      # notices a stuck scheduler and takes at least a second.
      {{- else }}
      # /health answers only after weights are loaded and the engine is ready; until then the port refuses.
      {{- end }}
      startupProbe:
        httpGet:
          path: {{ $ready }}
          port: http
        periodSeconds: 10
        timeoutSeconds: {{ int64 $engine.probes.timeoutSeconds }}
        failureThreshold: {{ divf $derived.startupBudgetSeconds 10 | ceil | int64 }}
      readinessProbe:
        httpGet:
          path: {{ $ready }}
          port: http
        periodSeconds: {{ int64 $engine.probes.readinessPeriodSeconds }}
        timeoutSeconds: {{ int64 $engine.probes.timeoutSeconds }}
        failureThreshold: {{ int64 $engine.probes.readinessFailureThreshold }}
      livenessProbe:
        httpGet:
          path: {{ .Catalog.engine.healthPath }}
          port: http
        periodSeconds: {{ int64 $engine.probes.livenessPeriodSeconds }}
        timeoutSeconds: {{ int64 $engine.probes.timeoutSeconds }}
        failureThreshold: {{ int64 $engine.probes.livenessFailureThreshold }}
      {{- if $derived.preStopSeconds }}
      lifecycle:
        preStop:
          # The endpoint leaves the load balancers meanwhile: SIGTERM comes after it.
          sleep:
            seconds: {{ $derived.preStopSeconds }}
      {{- end }}
      {{- end }}
      volumeMounts:
        - name: home
          mountPath: {{ include "llm-inference.engine.home" . }}
        - name: tmp
          mountPath: /tmp
        - name: shared-memory
          mountPath: /dev/shm
        {{- if $engine.compileCache.enabled }}
        - name: compile-cache
          mountPath: /compile-cache
        {{- end }}
        {{- with include "llm-inference.weights.engineMounts" . | trim }}
        {{- . | nindent 8 }}
        {{- end }}
  volumes:
    - name: home
      emptyDir: {}
    - name: tmp
      emptyDir: {}
    - name: shared-memory
      emptyDir:
        medium: Memory
        # Counts against the memory limit.
        sizeLimit: {{ $derived.sharedMemoryGibibytes }}Gi
    {{- if $engine.compileCache.enabled }}
    - name: compile-cache
      persistentVolumeClaim:
        claimName: {{ $engine.compileCache.existingClaim | quote }}
    {{- end }}
    {{- with include "llm-inference.weights.volumes" . | trim }}
    {{- . | nindent 4 }}
    {{- end }}
{{- end -}}
