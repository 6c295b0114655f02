{{/* Prefix of all object names. The longest suffix, `-pre-delete`, stays within 63 characters. */}}
{{- define "ocelot.fullname" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{/* Image of a component. Arguments: root, name. */}}
{{- define "ocelot.image" -}}
{{- printf "%s-%s:%s" .root.Values.image.prefix .name (.root.Values.image.tag | default .root.Chart.AppVersion) -}}
{{- end }}

{{/* Labels that never change, for selectors. Arguments: root, name. */}}
{{- define "ocelot.selectorLabels" -}}
app.kubernetes.io/name: ocelot
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .name }}
{{- end }}

{{/* Labels of an object. Arguments: root, name. */}}
{{- define "ocelot.labels" -}}
{{ include "ocelot.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Metadata of a component's object. Arguments: root, name. */}}
{{- define "ocelot.metadata" -}}
name: {{ include "ocelot.fullname" .root }}-{{ .name }}
namespace: {{ .root.Release.Namespace | quote }}
labels:
  {{- include "ocelot.labels" . | nindent 2 }}
{{- end }}

{{/* Secret of a backend for a component: its own, or the common one. Arguments: root, name, backend. */}}
{{- define "ocelot.secret" -}}
{{- $own := dig "secrets" .backend "" (index .root.Values .name | default dict) -}}
{{- $own | default (index .root.Values .backend).existingSecret -}}
{{- end }}

{{- define "ocelot.signingKeySecret" -}}
{{- .Values.signingKey.existingSecret | default (printf "%s-signing-key" (include "ocelot.fullname" .)) -}}
{{- end }}

{{- define "ocelot.queueKeysSecret" -}}
{{- .Values.queueKeys.existingSecret | default (printf "%s-queue-keys" (include "ocelot.fullname" .)) -}}
{{- end }}

{{/* URL of a queue, from its name or URL. Arguments: root, queue. */}}
{{- define "ocelot.queueUrl" -}}
{{- $sqs := .root.Values.sqs -}}
{{- $queue := index $sqs.queues .queue -}}
{{- if contains "://" $queue -}}
{{- $queue -}}
{{- else -}}
{{- $endpoint := $sqs.endpointUrl | default (printf "https://sqs.%s.amazonaws.com" $sqs.region) -}}
{{- printf "%s/%s/%s" (trimSuffix "/" $endpoint) $sqs.accountId $queue -}}
{{- end -}}
{{- end }}

{{- define "ocelot.apiUrl" -}}
http://{{ include "ocelot.fullname" . }}-api.{{ .Release.Namespace }}.svc:{{ .Values.api.service.port }}
{{- end }}
