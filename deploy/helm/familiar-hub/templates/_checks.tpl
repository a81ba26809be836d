{{/*
What must not be installed, each with a sentence that says what to do. The schema says what a value may be; here is said
which values go together. What zero-to-jupyterhub's values must not say is checked by the hub when it starts
(familiar_hub.zero_to_jupyterhub).
*/}}

{{- define "familiar-hub.checks" -}}
{{- $v := .Values -}}
{{- $say := "familiar-hub: %s" -}}

{{- /* The door. */}}
{{- if not $v.publicUrl }}
{{- fail (printf $say "publicUrl is empty; say the address that people type, as in --set publicUrl=https://lab.example.org") }}
{{- end }}
{{- if and (hasPrefix "http://" $v.publicUrl) (not $v.allowHttp) }}
{{- fail (printf $say "publicUrl begins with http://, so passwords would go through the network in the clear; give an https:// address, or set allowHttp") }}
{{- end }}
{{- if eq $v.authenticator "oidc" }}
{{- if not $v.admin }}
{{- fail (printf $say "admin is empty; with authenticator oidc say which of the provider's names is the administrator's") }}
{{- end }}
{{- range list "clientId" "authorizeUrl" "tokenUrl" "userdataUrl" }}
{{- if not (get $v.oidc .) }}
{{- fail (printf $say (printf "oidc.%s is empty; authenticator oidc needs it" .)) }}
{{- end }}
{{- end }}
{{- if not $v.oidc.allow }}
{{- fail (printf $say "oidc.allow lets nobody in; list the groups that may come in, or \"*\" for everybody whom the provider knows") }}
{{- end }}
{{- if and (not (has "*" $v.oidc.allow)) (not $v.oidc.groupsClaim) }}
{{- fail (printf $say "oidc.allow names groups, but oidc.groupsClaim does not say where they stand; set it") }}
{{- end }}
{{- end }}

{{- /* Profiles. */}}
{{- $names := list }}
{{- $kinds := list }}
{{- $forAll := false }}
{{- range $v.profiles }}
{{- $kind := include "familiar-hub.kind" .name }}
{{- if has $kind $kinds }}
{{- fail (printf $say (printf "profiles has two whose name would be %s in a label; rename one of them" $kind)) }}
{{- end }}
{{- $names = append $names .name }}
{{- $kinds = append $kinds $kind }}
{{- if not .groups }}
{{- $forAll = true }}
{{- end }}
{{- if and .podman (eq (include "familiar-hub.podmanMode" $) "off") }}
{{- fail (printf $say (printf "the profile %s has podman, which podman.mode off gives to nobody; change one of them" (quote .name))) }}
{{- end }}
{{- include "familiar-hub.checkVariables" (dict "variables" (default dict .environment) "where" (printf "the environment of the profile %s" (quote .name)) "say" $say) }}
{{- end }}
{{- if not $forAll }}
{{- fail (printf $say "every profile has groups, so whoever is in none could have no lab; leave groups out in one of them") }}
{{- end }}
{{- if and $v.podman.everybody (eq (include "familiar-hub.podmanMode" .) "off") }}
{{- fail (printf $say "podman.everybody gives podman to all labs, and podman.mode off to none; change one of them") }}
{{- end }}

{{- /* Variables and Claude. */}}
{{- include "familiar-hub.checkVariables" (dict "variables" $v.environment "where" "environment" "say" $say) }}
{{- include "familiar-hub.checkNames" (dict "variables" $v.secretEnvironment "where" "secretEnvironment" "say" $say) }}
{{- range $name, $_ := $v.secretEnvironment }}
{{- if hasKey $v.environment $name }}
{{- fail (printf $say (printf "environment and secretEnvironment both set %s; take one out" $name)) }}
{{- end }}
{{- end }}
{{- if and $v.claude.endpoint $v.claude.apiKeySecretName }}
{{- fail (printf $say "claude.apiKeySecretName would send your Anthropic key to claude.endpoint; leave one of them empty (claude.endpointTokenSecretName is for the endpoint's own token)") }}
{{- end }}
{{- if and $v.claude.endpointTokenSecretName (not $v.claude.endpoint) }}
{{- fail (printf $say "claude.endpointTokenSecretName is for claude.endpoint, which is empty; set it, or claude.apiKeySecretName") }}
{{- end }}
{{- if and $v.claude.endpoint $v.networkPolicy.enabled (not $v.networkPolicy.reach) (or (not $v.networkPolicy.internet) (hasPrefix "http://" $v.claude.endpoint)) }}
{{- fail (printf $say (printf "claude.endpoint is %s, and labs reach public addresses at most; name it in networkPolicy.reach" $v.claude.endpoint)) }}
{{- end }}

{{- /* The network. */}}
{{- $reach := list "internet" }}
{{- range $v.networkPolicy.reach }}
{{- $entry := .name }}
{{- if has $entry $reach }}
{{- fail (printf $say (printf "networkPolicy.reach has %s twice, or under a name that is taken; rename it" $entry)) }}
{{- end }}
{{- $reach = append $reach $entry }}
{{- range .profiles }}
{{- if not (has . $names) }}
{{- fail (printf $say (printf "networkPolicy.reach %s names the profile %s, which there is not" $entry (quote .))) }}
{{- end }}
{{- end }}
{{- range .to }}
{{- $cidr := dig "ipBlock" "cidr" "" . }}
{{- if or (hasSuffix "/0" $cidr) (hasPrefix "169.254." $cidr) }}
{{- fail (printf $say (printf "networkPolicy.reach %s would open %s, where the clouds' credentials are; networkPolicy.internet is for public addresses, and private ones are to be named" $entry $cidr)) }}
{{- end }}
{{- end }}
{{- end }}
{{- if and $v.networkPolicy.reach (not $v.networkPolicy.enabled) }}
{{- fail (printf $say "networkPolicy.reach does nothing without networkPolicy.enabled; set it") }}
{{- end }}
{{- if and $v.storage.shared.existingClaim (not $v.storage.shared.enabled) }}
{{- fail (printf $say "storage.shared.existingClaim does nothing without storage.shared.enabled; set it") }}
{{- end }}
{{- end -}}

{{/* Refuse variables that the hub or the lab sets itself. */}}
{{- define "familiar-hub.checkNames" -}}
{{- $where := .where -}}
{{- $say := .say -}}
{{- $ours := list "CLAUDE_CONFIG_DIR" "IPYTHONDIR" "GIT_CONFIG_GLOBAL" "FAMILIAR_PODMAN_STORE" "XDG_CACHE_HOME" "HOME" "PATH" }}
{{- range $name, $_ := .variables }}
{{- if or (has $name $ours) (hasPrefix "JUPYTER_" $name) (hasPrefix "JUPYTERHUB_" $name) (hasPrefix "FAMILIAR_LAB_" $name) }}
{{- fail (printf $say (printf "%s sets %s, which the hub or the lab sets itself; take it out" $where $name)) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* And what looks like a secret. */}}
{{- define "familiar-hub.checkVariables" -}}
{{- include "familiar-hub.checkNames" . -}}
{{- $where := .where -}}
{{- $say := .say -}}
{{- range $name, $value := .variables }}
{{- if regexMatch "(?i)(token|secret|passw(or)?d|passphrase|credentials?|key)$" $name }}
{{- fail (printf $say (printf "%s holds the value of %s, which looks like a secret; put it into a Secret, and name that in secretEnvironment" $where $name)) }}
{{- end }}
{{- if regexMatch "://[^/@\\s]*:[^/@\\s]*@" $value }}
{{- fail (printf $say (printf "%s holds an address with a password in it, in %s; put it into a Secret, and name that in secretEnvironment" $where $name)) }}
{{- end }}
{{- end }}
{{- end -}}
