{{/* Pod with the `ocelot` command, the stores and the keys, for NOTES. */}}
{{- define "ocelot.cliPod" -}}
{{- $cli := dict "root" . "name" "cli" -}}
apiVersion: v1
kind: Pod
metadata:
  name: {{ include "ocelot.fullname" . }}-cli
  namespace: {{ .Release.Namespace | quote }}
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  enableServiceLinks: false
  # The pod ends after an hour even if it is forgotten.
  activeDeadlineSeconds: 3600
  securityContext:
    {{- include "ocelot.podSecurity" . | nindent 4 }}
  {{- with include "ocelot.pullSecrets" $cli }}
  {{- . | nindent 2 }}
  {{- end }}
  containers:
    - name: cli
      image: {{ include "ocelot.image" $cli }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      command: [sleep, "3600"]
      securityContext:
        {{- include "ocelot.containerSecurity" . | nindent 8 }}
      env:
        {{- include "ocelot.env.stores" $cli | nindent 8 }}
        {{- include "ocelot.env.tokens" $cli | nindent 8 }}
        {{- with .Values.opensearch.indexPrefix }}
        - name: OCELOT_INDEX_PREFIX
          value: {{ . | quote }}
        {{- end }}
        - name: OCELOT_SIGNING_KEY_FILE
          value: /etc/ocelot/signing-key/signing-key.pem
      volumeMounts:
        - name: signing-key
          mountPath: /etc/ocelot/signing-key
          readOnly: true
        - name: queue-keys
          mountPath: /etc/ocelot/queue-keys
          readOnly: true
  volumes:
    - name: signing-key
      secret:
        secretName: {{ include "ocelot.signingKeySecret" . | quote }}
        items: [{key: signing-key.pem, path: signing-key.pem}]
        defaultMode: 0440
    - name: queue-keys
      secret:
        secretName: {{ include "ocelot.queueKeysSecret" . | quote }}
        items: [{key: queue-keys, path: queue-keys}]
        defaultMode: 0440
{{- end }}
