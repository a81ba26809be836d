{{/*
What runs beside the lab: the proxy in front of it, and the client of Tor. Neither is root, sees the volume, or has a
token of the cluster's.
*/}}

{{- define "familiar.confined" -}}
runAsUser: 65532
runAsGroup: 65532
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "familiar.proxyContainer" -}}
{{- $proxy := .Values.oauth2Proxy -}}
name: oauth2-proxy
image: {{ printf "%s:%s" $proxy.image.repository $proxy.image.tag | trimSuffix ":" }}{{ with $proxy.image.digest }}@{{ . }}{{ end }}
imagePullPolicy: {{ $proxy.image.pullPolicy }}
args:
  - --http-address=0.0.0.0:4180
  - --upstream=http://127.0.0.1:8888
  # A kernel can take its time to answer a request.
  - --upstream-timeout=300s
  - {{ printf "--provider=%s" $proxy.provider | quote }}
  {{- with $proxy.oidcIssuerUrl }}
  - {{ printf "--oidc-issuer-url=%s" . | quote }}
  {{- end }}
  - {{ printf "--redirect-url=%s" (include "familiar.redirectUrl" .) | quote }}
  - --authenticated-emails-file=/etc/familiar/emails
  {{- with $proxy.allowedGroups }}
  - {{ printf "--allowed-group=%s" (join "," .) | quote }}
  {{- end }}
  {{- with $proxy.scope }}
  - {{ printf "--scope=%s" . | quote }}
  {{- end }}
  - --cookie-secure=true
  - --cookie-httponly=true
  # JupyterLab has no use for them.
  - --pass-basic-auth=false
  - --pass-user-headers=false
  {{- if .Values.ingress.enabled }}
  - --reverse-proxy=true
  {{- end }}
  {{- with $proxy.extraArgs }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
env:
  {{- range list "client-id" "client-secret" "cookie-secret" }}
  - name: OAUTH2_PROXY_{{ . | replace "-" "_" | upper }}
    valueFrom:
      secretKeyRef: {name: {{ $proxy.secretName }}, key: {{ . }}}
  {{- end }}
ports:
  - {name: proxy, containerPort: 4180}
readinessProbe:
  httpGet: {path: /ready, port: proxy}
livenessProbe:
  httpGet: {path: /ping, port: proxy}
  periodSeconds: 30
  timeoutSeconds: 10
  failureThreshold: 4
securityContext:
  {{- include "familiar.confined" . | nindent 2 }}
{{- with $proxy.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  - {name: config, mountPath: /etc/familiar/emails, subPath: emails, readOnly: true}
{{- end -}}

{{- define "familiar.torContainer" -}}
name: tor
image: {{ include "familiar.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
command: [tor, -f, /etc/familiar/torrc]
# No readiness: who cannot reach Tor wants to work all the same.
livenessProbe:
  exec:
    command: [python3, -c, "import socket; socket.create_connection(('127.0.0.1', 9050), 8)"]
  initialDelaySeconds: 30
  periodSeconds: 60
  timeoutSeconds: 15
  failureThreshold: 5
securityContext:
  {{- include "familiar.confined" . | nindent 2 }}
{{- with .Values.tor.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  - {name: config, mountPath: /etc/familiar/torrc, subPath: torrc, readOnly: true}
  - {name: tor, mountPath: /var/lib/familiar-tor}
{{- end -}}
