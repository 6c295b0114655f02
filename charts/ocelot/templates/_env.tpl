{{/* Where the stores are. Arguments: root, name. */}}
{{- define "ocelot.env.stores" -}}
{{- $values := .root.Values -}}
- name: MONGODB_URL
  {{- if $values.mongodb.url }}
  value: {{ $values.mongodb.url | quote }}
  {{- else }}
  valueFrom:
    secretKeyRef:
      name: {{ include "ocelot.secret" (merge (dict "backend" "mongodb") .) | quote }}
      key: url
  {{- end }}
- name: MONGODB_DATABASE
  value: {{ $values.mongodb.database | quote }}
{{- if $values.opensearch.enabled }}
- name: OPENSEARCH_URL
  {{- if $values.opensearch.url }}
  value: {{ $values.opensearch.url | quote }}
  {{- else }}
  valueFrom:
    secretKeyRef:
      name: {{ include "ocelot.secret" (merge (dict "backend" "opensearch") .) | quote }}
      key: url
  {{- end }}
{{- end }}
{{- end }}

{{/* Queues and their keys. Arguments: root, name. */}}
{{- define "ocelot.env.queues" -}}
{{- $sqs := .root.Values.sqs -}}
- name: AWS_REGION
  value: {{ $sqs.region | quote }}
{{- with $sqs.endpointUrl }}
- name: AWS_ENDPOINT_URL_SQS
  value: {{ . | quote }}
{{- end }}
{{- with include "ocelot.secret" (merge (dict "backend" "sqs") .) }}
{{- $secret := . }}
{{- range list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
- name: {{ . }}
  valueFrom:
    secretKeyRef:
      name: {{ $secret | quote }}
      key: {{ . }}
{{- end }}
{{- end }}
- name: SQS_QUEUE_URL
  value: {{ include "ocelot.queueUrl" (dict "root" .root "queue" "ingest") | quote }}
- name: SQS_DLQ_URL
  value: {{ include "ocelot.queueUrl" (dict "root" .root "queue" "ingestDlq") | quote }}
{{- /* Without an indexer nobody reads the index queue. */}}
{{- if .root.Values.opensearch.enabled }}
- name: SQS_INDEX_QUEUE_URL
  value: {{ include "ocelot.queueUrl" (dict "root" .root "queue" "index") | quote }}
- name: SQS_INDEX_DLQ_URL
  value: {{ include "ocelot.queueUrl" (dict "root" .root "queue" "indexDlq") | quote }}
{{- end }}
- name: OCELOT_QUEUE_KEYS_FILE
  value: /etc/ocelot/queue-keys/queue-keys
{{- end }}

{{/* What every process tells of itself. Arguments: root. */}}
{{- define "ocelot.env.telemetry" -}}
- name: LOG_LEVEL
  value: {{ .root.Values.logLevel | quote }}
{{- with .root.Values.otlpEndpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . | quote }}
{{- end }}
- name: OCELOT_PROBES_PORT
  value: "8080"
{{- end }}

{{- define "ocelot.env.tokens" -}}
- name: OCELOT_TOKEN_ISSUER
  value: {{ .root.Values.tokens.issuer | quote }}
- name: OCELOT_TOKEN_AUDIENCE
  value: {{ .root.Values.tokens.audience | quote }}
{{- end }}

{{/* The user's own variables. Arguments: root, name. */}}
{{- define "ocelot.env.own" -}}
{{- range $name, $value := (index .root.Values .name).env }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{/* A consumer, indexer or jobs process. Arguments: root, name. */}}
{{- define "ocelot.env.worker" -}}
{{ include "ocelot.env.stores" . }}
{{ include "ocelot.env.queues" . }}
{{ include "ocelot.env.telemetry" . }}
- name: OCELOT_DRAIN_TIMEOUT_SEC
  value: {{ (index .root.Values .name).drainTimeoutSec | quote }}
{{- end }}
