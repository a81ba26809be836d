{{/*
What the hub is told: its variables, the profiles, and what labs' Pods are like. familiar_hub reads all three when it
starts, checks them whole, and says in sentences what is wrong.
*/}}

{{- define "familiar-hub.folder" -}}/etc/familiar-hub{{- end -}}
{{- define "familiar-hub.secrets" -}}/etc/familiar-hub-secrets{{- end -}}

{{- define "familiar-hub.settings" -}}
{{- $v := .Values -}}
{{- $folder := include "familiar-hub.folder" . -}}
{{- $secrets := include "familiar-hub.secrets" . -}}
{{- $settings := dict
  "FAMILIAR_HUB_AUTHENTICATOR" $v.authenticator
  "FAMILIAR_HUB_BUSY_HOURS" (include "familiar-hub.whole" $v.culling.busyHours)
  "FAMILIAR_HUB_CLUSTER_FILE" (printf "%s/cluster.json" $folder)
  "FAMILIAR_HUB_DATA" "/var/lib/familiar-hub"
  "FAMILIAR_HUB_IDLE_MINUTES" (include "familiar-hub.whole" $v.culling.idleMinutes)
  "FAMILIAR_HUB_LAB_PODMAN" (ternary "1" "0" $v.podman.everybody)
  "FAMILIAR_HUB_MAX_AGE_HOURS" (include "familiar-hub.whole" $v.culling.maxAgeHours)
  "FAMILIAR_HUB_PROFILES_FILE" (printf "%s/profiles.yaml" $folder)
  "FAMILIAR_HUB_PUBLIC_URL" $v.publicUrl
  "FAMILIAR_HUB_SUBDOMAINS" (ternary "1" "0" $v.subdomains)
  "ENABLE_JUPYTERHUB_SSL" (ternary "1" "0" (hasPrefix "https://" $v.publicUrl))
  "JUPYTERHUB_BASE_URL" $v.baseUrl
-}}
{{- with $v.admin -}}
{{- $settings = set $settings "JUPYTERHUB_ADMIN" . -}}
{{- end -}}
{{- if eq $v.authenticator "native" -}}
{{- $settings = merge $settings (dict
  "FAMILIAR_HUB_ADMIN_PASSWORD_FILE" (printf "%s/admin-password" $secrets)
  "FAMILIAR_HUB_FAILED_LOGINS" (include "familiar-hub.whole" $v.accounts.failedLogins)
  "FAMILIAR_HUB_LOCKOUT_SECONDS" (include "familiar-hub.whole" $v.accounts.lockoutSeconds)
  "FAMILIAR_HUB_MINIMUM_PASSWORD_LENGTH" (include "familiar-hub.whole" $v.accounts.minimumPassword)
  "FAMILIAR_HUB_PENDING_ACCOUNTS" (include "familiar-hub.whole" $v.accounts.pending)
  "FAMILIAR_HUB_SIGNUP" (ternary "1" "0" $v.accounts.signup)
) -}}
{{- else -}}
{{- $oidc := $v.oidc -}}
{{- $settings = merge $settings (dict
  "FAMILIAR_HUB_OIDC_ALLOW" (join " " $oidc.allow)
  "FAMILIAR_HUB_OIDC_AUTHORIZE_URL" $oidc.authorizeUrl
  "FAMILIAR_HUB_OIDC_CLIENT_ID" $oidc.clientId
  "FAMILIAR_HUB_OIDC_CLIENT_SECRET_FILE" (printf "%s/oidc-client-secret" $secrets)
  "FAMILIAR_HUB_OIDC_GROUPS_CLAIM" $oidc.groupsClaim
  "FAMILIAR_HUB_OIDC_LOGOUT_URL" $oidc.logoutUrl
  "FAMILIAR_HUB_OIDC_SCOPES" (join " " $oidc.scopes)
  "FAMILIAR_HUB_OIDC_TOKEN_URL" $oidc.tokenUrl
  "FAMILIAR_HUB_OIDC_USERDATA_URL" $oidc.userdataUrl
  "FAMILIAR_HUB_OIDC_USERNAME_CLAIM" $oidc.usernameClaim
) -}}
{{- end -}}
{{- toPrettyJson $settings -}}
{{- end -}}

{{/* As familiar_hub.profiles takes them. */}}
{{- define "familiar-hub.profiles" -}}
{{- $profiles := list -}}
{{- range .Values.profiles -}}
{{- $profiles = append $profiles (merge (pick . "name" "summary" "groups" "image" "memory" "cpus" "podman" "environment") (dict "gpu" (gt (int (default 0 .gpus)) 0))) -}}
{{- end -}}
{{- toYaml $profiles -}}
{{- end -}}

{{/* As familiar_hub.cluster takes it. */}}
{{- define "familiar-hub.cluster" -}}
{{- $v := .Values -}}
{{- $places := dict -}}
{{- range $v.profiles -}}
{{- $place := pick . "nodeSelector" "tolerations" "sharedMemory" -}}
{{- if .gpus -}}
{{- $place = set $place "gpus" (int .gpus) -}}
{{- end -}}
{{- if .runtimeClassName -}}
{{- $place = set $place "runtimeClass" .runtimeClassName -}}
{{- end -}}
{{- if $place -}}
{{- $places = set $places .name $place -}}
{{- end -}}
{{- end -}}
{{- $sizes := pick $v.storage "home" "workspace" "cache" -}}
{{- toPrettyJson (dict
  "claims" (dict "sizes" $sizes "storageClass" $v.storage.className "access" $v.storage.accessMode "together" $v.storage.together)
  "shared" (include "familiar-hub.sharedClaim" .)
  "podman" (include "familiar-hub.podmanMode" .)
  "fuseResource" $v.podman.fuseResource
  "gpuResource" $v.gpu.resourceName
  "environment" (include "familiar-hub.environment" . | fromJson)
  "places" $places
) -}}
{{- end -}}

{{- define "familiar-hub.environment" -}}
{{- $v := .Values -}}
{{- $made := deepCopy $v.environment -}}
{{- range $name, $from := $v.secretEnvironment -}}
{{- $made = set $made $name (dict "secret" $from.secretName "key" $from.key) -}}
{{- end -}}
{{- if $v.claude.apiKeySecretName -}}
{{- $made = set $made "ANTHROPIC_API_KEY" (dict "secret" $v.claude.apiKeySecretName "key" "api-key") -}}
{{- end -}}
{{- if $v.claude.endpoint -}}
{{- $made = set $made "ANTHROPIC_BASE_URL" ($v.claude.endpoint | trimSuffix "/") -}}
{{- $made = set $made "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC" "1" -}}
{{- if $v.claude.endpointTokenSecretName -}}
{{- $made = set $made "ANTHROPIC_AUTH_TOKEN" (dict "secret" $v.claude.endpointTokenSecretName "key" "token") -}}
{{- else -}}
{{- /* Without one, Claude Code would send people's sign-ins there. */ -}}
{{- $made = set $made "ANTHROPIC_AUTH_TOKEN" "none" -}}
{{- end -}}
{{- end -}}
{{- if $v.claude.model -}}
{{- $made = set $made "ANTHROPIC_MODEL" $v.claude.model -}}
{{- if $v.claude.endpoint -}}
{{- range list "SMALL_FAST" "DEFAULT_HAIKU" "DEFAULT_SONNET" "DEFAULT_OPUS" -}}
{{- $made = set $made (printf "ANTHROPIC_%s_MODEL" .) $v.claude.model -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $made -}}
{{- end -}}
