{{/* Values that contradict each other. The schema checks single values. */}}
{{- define "ocelot.checks" -}}
{{- $values := .Values -}}
{{- $fullname := include "ocelot.fullname" . }}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $fullname) }}
{{- fail (printf "Object names cannot begin with %q. Use a release name, or a fullnameOverride, of lowercase letters, digits and hyphens that begins with a letter." $fullname) }}
{{- end }}
{{- if not (or $values.operator.enabled (and $values.signingKey.existingSecret $values.queueKeys.existingSecret)) }}
{{- fail "operator.enabled is false, so nothing creates the keys. Create both Secrets, and set signingKey.existingSecret and queueKeys.existingSecret to their names." }}
{{- end }}
{{- range list "mongodb" "opensearch" }}
{{- $backend := index $values . }}
{{- if and (dig "enabled" true $backend) (not (or $backend.url $backend.existingSecret)) }}
{{- fail (printf "%s has neither url nor existingSecret. Set one of them." .) }}
{{- end }}
{{- end }}
{{- /* The api answers open requests for up to 20 s, and then closes its clients. */}}
{{- $least := add $values.api.shutdownDelaySec 25 }}
{{- if lt (int $values.api.terminationGracePeriodSec) (int $least) }}
{{- fail (printf "api.terminationGracePeriodSec is too short. It must be at least api.shutdownDelaySec + 25, which is %d." $least) }}
{{- end }}
{{- range list "consumer" "indexer" "jobs" }}
{{- $worker := index $values . }}
{{- if le (int $worker.terminationGracePeriodSec) (int $worker.drainTimeoutSec) }}
{{- fail (printf "%s.terminationGracePeriodSec must be greater than %s.drainTimeoutSec, which is %d." . . (int $worker.drainTimeoutSec)) }}
{{- end }}
{{- end }}
{{- range list "consumer" "indexer" }}
{{- $scale := index $values.keda . }}
{{- if lt (int $scale.maxReplicas) (int $scale.minReplicas) }}
{{- fail (printf "keda.%s.maxReplicas is less than keda.%s.minReplicas." . .) }}
{{- end }}
{{- end }}
{{- if and $values.ingress.enabled (not $values.ingress.host) }}
{{- fail "ingress.host is empty. Set it to the host name of the api." }}
{{- end }}
{{- if and $values.httpRoute.enabled (not $values.httpRoute.parentRefs) }}
{{- fail "httpRoute.parentRefs is empty. Set it to the Gateway that publishes the api." }}
{{- end }}
{{- end }}
