{{/* Security context of a pod: the profile `restricted` of the Pod Security Standards. */}}
{{- define "ocelot.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
# Makes mounted Secrets readable.
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "ocelot.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/*
Deployment of a component.
Arguments: root, name, env (text), replicas (leave it out where an autoscaler owns the number),
  ports (text), queueKeys (mount them), automount (the token of the ServiceAccount).
*/}}
{{- define "ocelot.deployment" -}}
{{- $values := index .root.Values .name -}}
{{- range fromYamlArray .env }}
{{- if hasKey $values.env .name }}
{{- fail (printf "%s.env.%s: the chart sets this variable from another value. Set that value instead." $.name .name) }}
{{- end }}
{{- end -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "ocelot.metadata" . | nindent 2 }}
spec:
  {{- if hasKey . "replicas" }}
  replicas: {{ .replicas }}
  {{- end }}
  selector:
    matchLabels:
      {{- include "ocelot.selectorLabels" . | nindent 6 }}
  {{- with .strategy }}
  strategy:
    type: {{ . }}
  {{- end }}
  template:
    metadata:
      labels:
        {{- include "ocelot.labels" . | nindent 8 }}
    spec:
      serviceAccountName: {{ include "ocelot.fullname" .root }}-{{ .name }}
      automountServiceAccountToken: {{ .automount | default false }}
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSec }}
      securityContext:
        {{- include "ocelot.podSecurity" . | nindent 8 }}
      {{- with include "ocelot.pullSecrets" . }}
      {{- . | nindent 6 }}
      {{- end }}
      topologySpreadConstraints:
        {{- $selector := include "ocelot.selectorLabels" . }}
        {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
        - topologyKey: {{ . }}
          maxSkew: 1
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- $selector | nindent 14 }}
        {{- end }}
      containers:
        - name: {{ .name }}
          image: {{ include "ocelot.image" . }}
          imagePullPolicy: {{ .root.Values.image.pullPolicy }}
          securityContext:
            {{- include "ocelot.containerSecurity" . | nindent 12 }}
          env:
            {{- .env | nindent 12 }}
            {{- with include "ocelot.env.own" . }}
            {{- . | nindent 12 }}
            {{- end }}
          ports:
            {{- with .ports }}
            {{- . | nindent 12 }}
            {{- end }}
            - name: probes
              containerPort: 8080
          startupProbe:
            httpGet: {path: /healthz, port: probes}
            periodSeconds: 2
            failureThreshold: 60
          readinessProbe:
            httpGet: {path: /readyz, port: probes}
            periodSeconds: 5
            timeoutSeconds: 3
          livenessProbe:
            httpGet: {path: /healthz, port: probes}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          resources:
            {{- toYaml $values.resources | nindent 12 }}
          {{- if .queueKeys }}
          volumeMounts:
            - name: queue-keys
              mountPath: /etc/ocelot/queue-keys
              readOnly: true
          {{- end }}
      {{- if .queueKeys }}
      volumes:
        - name: queue-keys
          secret:
            secretName: {{ include "ocelot.queueKeysSecret" .root | quote }}
            # Without this entry, the kubelet names the missing key and does not start the pod.
            items: [{key: queue-keys, path: queue-keys}]
            defaultMode: 0440
      {{- end }}
{{- end }}

{{- define "ocelot.pullSecrets" -}}
{{- with .root.Values.image.pullSecrets -}}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "ocelot.serviceAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "ocelot.metadata" . | nindent 2 }}
  {{- with (index .root.Values .name).serviceAccount.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end }}

{{/* One pod at a time may be evicted; a pod that is not ready may always be. */}}
{{- define "ocelot.podDisruptionBudget" -}}
{{- if .root.Values.podDisruptionBudget.enabled -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "ocelot.metadata" . | nindent 2 }}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "ocelot.selectorLabels" . | nindent 6 }}
{{- end }}
{{- end }}

{{/* Arguments: root, name, public (the port `http` is open). */}}
{{- define "ocelot.networkPolicy" -}}
{{- $policy := .root.Values.networkPolicy -}}
{{- if $policy.enabled -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "ocelot.metadata" . | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "ocelot.selectorLabels" . | nindent 6 }}
  policyTypes: [Ingress]
  ingress:
    {{- if .public }}
    - ports:
        - port: http
      {{- with $policy.apiFrom }}
      from:
        {{- toYaml . | nindent 8 }}
        # `helm test`.
        - podSelector:
            matchLabels:
              {{- include "ocelot.selectorLabels" (dict "root" $.root "name" "test") | nindent 14 }}
      {{- end }}
    {{- end }}
    - ports:
        - port: probes
      from:
        {{- toYaml ($policy.metricsFrom | default (list (dict "namespaceSelector" dict))) | nindent 8 }}
{{- end }}
{{- end }}

{{/* ScaledObject of a worker. Arguments: root, name, queue. */}}
{{- define "ocelot.scaledObject" -}}
{{- $keda := .root.Values.keda -}}
{{- if $keda.enabled -}}
{{- $scale := index $keda .name -}}
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  {{- include "ocelot.metadata" . | nindent 2 }}
spec:
  scaleTargetRef:
    name: {{ include "ocelot.fullname" .root }}-{{ .name }}
  minReplicaCount: {{ $scale.minReplicas }}
  maxReplicaCount: {{ $scale.maxReplicas }}
  pollingInterval: {{ $scale.pollingIntervalSec }}
  cooldownPeriod: {{ $scale.cooldownSec }}
  triggers:
    - type: aws-sqs-queue
      metadata:
        queueURL: {{ include "ocelot.queueUrl" . | quote }}
        awsRegion: {{ .root.Values.sqs.region | quote }}
        {{- with .root.Values.sqs.endpointUrl }}
        awsEndpoint: {{ . | quote }}
        {{- end }}
        queueLength: {{ $scale.queueLength | quote }}
        # Messages that workers hold count too, or a busy worker would be scaled in.
        scaleOnInFlight: "true"
      authenticationRef:
        name: {{ include "ocelot.fullname" .root }}-sqs
{{- end }}
{{- end }}
