{{/*
The lab's container: what it is told, what it sees, and what it may.
*/}}

{{/* Where things are in the Pod. The files of Secrets are below the last one, a folder each. */}}
{{- define "familiar.work" -}}/home/jovyan/work{{- end -}}
{{- define "familiar.secrets" -}}/run/secrets/familiar{{- end -}}

{{/* Names that extraEnv may not set, as a JSON array. */}}
{{- define "familiar.ownVariables" -}}
{{- $names := list -}}
{{- range include "familiar.variables" . | fromYamlArray -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- toJson $names -}}
{{- end -}}

{{- define "familiar.variables" -}}
{{- $v := .Values -}}
{{- $work := include "familiar.work" . -}}
{{- $secrets := include "familiar.secrets" . -}}
# What else must stay has its place on the volume in the image.
- {name: CLAUDE_CONFIG_DIR, value: {{ $work }}/.claude}
- {name: FAMILIAR_LAB_PORT, value: "8888"}
{{- if $v.oauth2Proxy.enabled }}
# For the proxy beside it alone, which has asked who is there.
- {name: FAMILIAR_LAB_AUTH, value: proxy}
- {name: FAMILIAR_LAB_IP, value: 127.0.0.1}
{{- else }}
- {name: FAMILIAR_LAB_AUTH, value: token}
- {name: FAMILIAR_LAB_IP, value: 0.0.0.0}
- {name: JUPYTER_TOKEN_FILE, value: {{ $secrets }}/token/token}
{{- end }}
{{- if $v.claude.bypassPermissions }}
- {name: FAMILIAR_BYPASS_PERMISSIONS, value: "1"}
{{- end }}
{{- if $v.claude.apiKeySecretName }}
- name: ANTHROPIC_API_KEY
  valueFrom:
    secretKeyRef: {name: {{ $v.claude.apiKeySecretName }}, key: api-key}
{{- end }}
{{- if $v.claude.endpoint }}
- {name: ANTHROPIC_BASE_URL, value: {{ $v.claude.endpoint | trimSuffix "/" | quote }}}
- name: ANTHROPIC_AUTH_TOKEN
{{- if $v.claude.endpointTokenSecretName }}
  valueFrom:
    secretKeyRef: {name: {{ $v.claude.endpointTokenSecretName }}, key: token}
{{- else }}
  # Without one, Claude Code would send the person's sign-in there.
  value: none
{{- end }}
- {name: CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC, value: "1"}
{{- end }}
{{- if $v.claude.model }}
- {name: ANTHROPIC_MODEL, value: {{ $v.claude.model | quote }}}
{{- if $v.claude.endpoint }}
{{- range list "SMALL_FAST" "DEFAULT_HAIKU" "DEFAULT_SONNET" "DEFAULT_OPUS" }}
- {name: ANTHROPIC_{{ . }}_MODEL, value: {{ $v.claude.model | quote }}}
{{- end }}
{{- end }}
{{- end }}
{{- with $v.git.userName }}
- {name: FAMILIAR_GIT_NAME, value: {{ toJson . }}}
{{- end }}
{{- with $v.git.userEmail }}
- {name: FAMILIAR_GIT_EMAIL, value: {{ toJson . }}}
{{- end }}
{{- if $v.git.credentialsSecretName }}
- {name: FAMILIAR_GIT_CREDENTIALS_FILE, value: {{ $secrets }}/git/credentials}
{{- end }}
{{- if $v.git.sshKeySecretName }}
- {name: FAMILIAR_GIT_SSH_KEY_FILE, value: {{ $secrets }}/ssh/key}
- {name: FAMILIAR_GIT_KNOWN_HOSTS_FILE, value: {{ $secrets }}/ssh/known_hosts}
{{- end }}
{{- with $v.git.insteadOf }}
- name: FAMILIAR_GIT_INSTEAD_OF
  value: |
    {{- range . }}
    {{ .url }} {{ .insteadOf }}
    {{- end }}
{{- end }}
{{- if and (ne (include "familiar.podmanMode" .) "off") (eq $v.podman.storage.where "emptyDir") }}
# A folder in it, as the one that is mounted is root's.
- {name: FAMILIAR_PODMAN_STORE, value: /home/jovyan/.containers/storage}
{{- end }}
{{- if $v.podman.registryAuthSecretName }}
- {name: REGISTRY_AUTH_FILE, value: {{ $secrets }}/registry/auth.json}
{{- end }}
{{- if $v.mullvad.proxySecretName }}
- name: PROXY_URLS
  valueFrom:
    secretKeyRef: {name: {{ $v.mullvad.proxySecretName }}, key: PROXY_URLS}
{{- end }}
{{- end -}}

{{/* The arguments that decide who gets in stand there, and not in a file, since they go before all of a person's
files. */}}
{{- define "familiar.arguments" -}}
- --ServerApp.allow_unauthenticated_access=false
{{- if .Values.ingress.enabled }}
# So that its cookie is marked for https where the browser speaks that.
- --ServerApp.trust_xheaders=true
{{- end }}
{{- with .Values.lab.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What podman needs; see podman.mode in values.yaml. */}}
{{- define "familiar.security" -}}
{{- $mode := include "familiar.podmanMode" . -}}
{{- if eq $mode "privileged" -}}
privileged: true
{{- else if eq $mode "off" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
{{- else -}}
# newuidmap and newgidmap get their one capability from their files, which no_new_privs would forbid.
allowPrivilegeEscalation: true
capabilities:
  drop: [ALL]
  add: {{ ternary (list "SETUID" "SETGID" "SYS_ADMIN") (list "SETUID" "SETGID") (eq $mode "fuseOverlayfs") | toJson }}
seccompProfile: {type: Unconfined}
appArmorProfile: {type: Unconfined}
procMount: Unmasked
{{- end -}}
{{- end -}}

{{/* Whether the lab's server lives. /api needs no token, and asking it counts as no activity. */}}
{{- define "familiar.probe" -}}
{{- if .Values.oauth2Proxy.enabled -}}
# It listens where the kubelet does not reach.
exec: {command: [lab-healthy]}
{{- else -}}
httpGet: {path: /api, port: lab}
{{- end -}}
{{- end -}}

{{- define "familiar.resources" -}}
{{- $resources := deepCopy .Values.resources -}}
{{- $limits := $resources.limits | default dict -}}
{{- if .Values.gpu.count -}}
{{- $limits = set $limits .Values.gpu.resourceName (toString .Values.gpu.count) -}}
{{- end -}}
{{- if and (eq (include "familiar.podmanMode" .) "fuseOverlayfs") .Values.podman.fuseResource -}}
{{- $limits = set $limits .Values.podman.fuseResource "1" -}}
{{- end -}}
{{- set $resources "limits" $limits | toYaml -}}
{{- end -}}

{{- define "familiar.mounts" -}}
{{- $v := .Values -}}
{{- $secrets := include "familiar.secrets" . -}}
- {name: work, mountPath: {{ include "familiar.work" . }}}
# Read before the person's own settings of the kernel, which go over it.
- {name: config, mountPath: /etc/ipython/ipython_kernel_config.json, subPath: kernel.json, readOnly: true}
{{- if and (ne (include "familiar.podmanMode" .) "off") (eq $v.podman.storage.where "emptyDir") }}
- {name: containers, mountPath: /home/jovyan/.containers}
{{- end }}
{{- if $v.sharedMemory }}
- {name: shared-memory, mountPath: /dev/shm}
{{- end }}
{{- range include "familiar.secretFiles" . | fromYamlArray }}
- {name: {{ .name }}, mountPath: {{ $secrets }}/{{ .name }}, readOnly: true}
{{- end }}
{{- if ne (include "familiar.kubeAccess" .) "off" }}
- {name: cluster, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
{{- end }}
{{- with $v.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The Secrets that are files, as a list of name, secret, and which key is which file. */}}
{{- define "familiar.secretFiles" -}}
{{- $v := .Values -}}
{{- $files := list -}}
{{- if not $v.oauth2Proxy.enabled -}}
{{- $files = append $files (dict "name" "token" "secret" (include "familiar.tokenSecret" .) "files" (dict (include "familiar.tokenKey" .) "token")) -}}
{{- end -}}
{{- with $v.git.credentialsSecretName -}}
{{- $files = append $files (dict "name" "git" "secret" . "files" (dict "credentials" "credentials")) -}}
{{- end -}}
{{- with $v.git.sshKeySecretName -}}
{{- $files = append $files (dict "name" "ssh" "secret" . "files" (dict "ssh-privatekey" "key" "known_hosts" "known_hosts")) -}}
{{- end -}}
{{- with $v.podman.registryAuthSecretName -}}
{{- $files = append $files (dict "name" "registry" "secret" . "files" (dict ".dockerconfigjson" "auth.json")) -}}
{{- end -}}
{{- with $v.notify.urlsSecretName -}}
{{- $files = append $files (dict "name" "notify" "secret" . "files" (dict "urls" "urls")) -}}
{{- end -}}
{{- toYaml $files -}}
{{- end -}}

{{- define "familiar.volumes" -}}
{{- $v := .Values -}}
- name: work
  persistentVolumeClaim: {claimName: {{ include "familiar.claim" . }}}
- name: config
  configMap: {name: {{ include "familiar.fullname" . }}}
{{- if and (ne (include "familiar.podmanMode" .) "off") (eq $v.podman.storage.where "emptyDir") }}
- name: containers
  emptyDir: {{ ternary (dict "sizeLimit" $v.podman.storage.sizeLimit) dict (ne $v.podman.storage.sizeLimit "") | toJson }}
{{- end }}
{{- if $v.sharedMemory }}
- name: shared-memory
  emptyDir: {medium: Memory, sizeLimit: {{ $v.sharedMemory }}}
{{- end }}
{{- range include "familiar.secretFiles" . | fromYamlArray }}
- name: {{ .name }}
  secret:
    secretName: {{ .secret }}
    # The owner is root, and fsGroup lets the lab's user read as well.
    defaultMode: 0400
    items:
      {{- range $key, $file := .files }}
      - {key: {{ $key | quote }}, path: {{ $file }}}
      {{- end }}
{{- end }}
{{- if ne (include "familiar.kubeAccess" .) "off" }}
# What automountServiceAccountToken would give to every container, for the lab's alone.
- name: cluster
  projected:
    defaultMode: 0440
    sources:
      - serviceAccountToken: {path: token, expirationSeconds: 3607}
      - configMap:
          name: kube-root-ca.crt
          items: [{key: ca.crt, path: ca.crt}]
      - downwardAPI:
          items: [{path: namespace, fieldRef: {apiVersion: v1, fieldPath: metadata.namespace}}]
{{- end }}
{{- if $v.tor.enabled }}
- name: tor
  emptyDir: {sizeLimit: 128Mi}
{{- end }}
{{- with $v.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
