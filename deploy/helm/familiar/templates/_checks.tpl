{{/*
What must not be installed, each with a sentence that says what to do. The schema says what a value may be; here is
said which values go together.

What this is about, above all: nothing is open to the network without a token or an auth proxy. The token cannot be
switched off but by the proxy. So what could undo either from the side is refused: arguments and variables that the
chart sets itself.
*/}}

{{- define "familiar.checks" -}}
{{- $v := .Values -}}
{{- $where := ternary " (the instance `dev`)" "" (eq .instance "dev") -}}
{{- $say := printf "familiar%s: %%s" $where -}}

{{- if not $v.image.repository }}
{{- fail (printf $say "image.repository is empty; name the lab's image, as in --set image.repository=ghcr.io/you/familiar-lab") }}
{{- end }}

{{- /* The door. */}}
{{- range $v.lab.extraArgs }}
{{- if regexMatch "(?i)token|passw|identity|auth|login|allow[-_]|cors|origin|xsrf|hostname|config|sock|cert|keyfile|base_url|tornado|(^|[-._])(ip|port)\\b" . }}
{{- fail (printf $say (printf "lab.extraArgs has %s, which may change who gets in or where JupyterLab listens; the values token, oauth2Proxy and ingress are for that" (splitList "=" . | first | quote))) }}
{{- end }}
{{- end }}
{{- $ours := include "familiar.ownVariables" . | fromJsonArray }}
{{- range $v.extraEnv }}
{{- if or (has .name $ours) (hasPrefix "JUPYTER_" .name) (hasPrefix "JUPYTERHUB_" .name) (hasPrefix "FAMILIAR_LAB_" .name) (eq "FAMILIAR_BYPASS_PERMISSIONS" .name) }}
{{- fail (printf $say (printf "extraEnv sets %s, which the chart sets itself or which may change who gets in; take it out" .name)) }}
{{- end }}
{{- if and .value (regexMatch "(?i)(token|secret|passw(or)?d|passphrase|credentials?|key)$" .name) }}
{{- fail (printf $say (printf "extraEnv holds the value of %s, which looks like a secret; put it into a Secret, and name that with valueFrom.secretKeyRef" .name)) }}
{{- end }}
{{- if regexMatch "://[^/@\\s]*:[^/@\\s]*@" (toString .value) }}
{{- fail (printf $say (printf "extraEnv holds an address with a password in it, in %s; put it into a Secret, and name that with valueFrom.secretKeyRef" .name)) }}
{{- end }}
{{- end }}
{{- if and $v.ingress.enabled (not $v.ingress.host) }}
{{- fail (printf $say "ingress.host is empty; say under which name the lab is to be reached, as in lab.example.org") }}
{{- end }}
{{- if and $v.ingress.enabled $v.networkPolicy.enabled (not $v.networkPolicy.allowFrom) }}
{{- fail (printf $say "networkPolicy.allowFrom lets nobody in, so the Ingress would lead nowhere; name the namespace of the ingress controller there") }}
{{- end }}
{{- if $v.oauth2Proxy.enabled }}
{{- include "familiar.checkProxy" (dict "Values" $v "say" $say "redirect" (include "familiar.redirectUrl" .)) }}
{{- end }}

{{- /* Claude, git and the cluster. */}}
{{- if and $v.claude.endpoint $v.claude.apiKeySecretName }}
{{- fail (printf $say "claude.apiKeySecretName would send your Anthropic key to claude.endpoint; leave one of them empty (claude.endpointTokenSecretName is for the endpoint's own token)") }}
{{- end }}
{{- if and $v.claude.endpointTokenSecretName (not $v.claude.endpoint) }}
{{- fail (printf $say "claude.endpointTokenSecretName is set and claude.endpoint is not; say which server the token is for") }}
{{- end }}
{{- if hasSuffix "/v1" (trimSuffix "/" $v.claude.endpoint) }}
{{- fail (printf $say "claude.endpoint ends in /v1; leave that away, Claude Code adds it") }}
{{- end }}
{{- range $v.git.insteadOf }}
{{- if regexMatch "://[^/@]*:[^/@]*@" (printf "%s %s" .url .insteadOf) }}
{{- fail (printf $say "git.insteadOf holds an address with a password in it; put that into the Secret that git.credentialsSecretName names") }}
{{- end }}
{{- end }}
{{- if and (ne (include "familiar.kubeAccess" .) "off") (eq (include "familiar.serviceAccount" .) "default") }}
{{- fail (printf $say "kubeAccess would give rights to the ServiceAccount `default`, which every Pod of the namespace has; set serviceAccount.create, or a name") }}
{{- end }}
{{- if and $v.networkPolicy.enabled (eq $v.networkPolicy.egress.mode "listed") $v.tor.enabled (not $v.networkPolicy.egress.extra) }}
{{- fail (printf $say "tor.enabled with networkPolicy.egress.mode `listed` reaches no relay; list what Tor may reach in networkPolicy.egress.extra, or use the mode internet") }}
{{- end }}
{{- end -}}

{{- define "familiar.checkProxy" -}}
{{- $v := .Values }}
{{- $say := .say }}
{{- $proxy := $v.oauth2Proxy }}
{{- if not $v.networkPolicy.enabled }}
{{- fail (printf $say "oauth2Proxy.enabled switches JupyterLab's token off, so it needs networkPolicy.enabled as well") }}
{{- end }}
{{- if not $proxy.secretName }}
{{- fail (printf $say "oauth2Proxy.secretName is empty; name the Secret with the keys client-id, client-secret and cookie-secret") }}
{{- end }}
{{- if not $proxy.allowedEmails }}
{{- fail (printf $say "oauth2Proxy.allowedEmails is empty; list the mail addresses that may enter, or anybody with an account there could") }}
{{- end }}
{{- if not .redirect }}
{{- fail (printf $say "nobody can come back from signing in; set ingress.enabled and ingress.host, or oauth2Proxy.redirectUrl") }}
{{- end }}
{{- if and $v.ingress.enabled (not $v.ingress.tls.enabled) }}
{{- fail (printf $say "oauth2Proxy's cookie needs https; set ingress.tls.enabled") }}
{{- end }}
{{- if and (has $proxy.provider (list "oidc" "keycloak-oidc" "entra-id")) (not $proxy.oidcIssuerUrl) }}
{{- fail (printf $say (printf "oauth2Proxy.oidcIssuerUrl is empty; the provider %s needs its issuer's address" $proxy.provider)) }}
{{- end }}
{{- if not $proxy.image.repository }}
{{- fail (printf $say "oauth2Proxy.image.repository is empty; name the proxy's image") }}
{{- end }}
{{- /* A list of what is harmless, as there will always be one more option that is not. */}}
{{- range $proxy.extraArgs }}
{{- if not (regexMatch "^--(oidc-(groups-claim|email-claim|audience-claim|extra-audience|jwks-url|extra-jwks-files|public-key-file)|login-url|redeem-url|profile-url|validate-url|prompt|approval-prompt|code-challenge-method|provider-display-name|provider-ca-file|use-system-trust-store|azure-tenant|entra-id-allowed-tenant|google-group|google-target-principal|github-org|github-team|github-repo|gitlab-group|gitlab-project|keycloak-group|allowed-role|bitbucket-team|cookie-(expire|refresh|samesite|name)|session-cookie-minimal|skip-provider-button|silence-ping-logging|request-logging|auth-logging|standard-logging|banner|footer)(=.*)?$" .) }}
{{- fail (printf $say (printf "oauth2Proxy.extraArgs has %s, which is not among the options that are known to open no way past the proxy and to hold no secret" (splitList "=" . | first | quote))) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* What must not be the same in both instances. Takes the root context. */}}
{{- define "familiar.checkBoth" -}}
{{- $dev := .Values.dev }}
{{- if $dev.enabled }}
{{- $host := dig "ingress" "host" "" $dev }}
{{- if and $host .Values.ingress.enabled (eq $host .Values.ingress.host) }}
{{- fail (printf "familiar: dev.ingress.host is %s, as that of the other instance; give it a name of its own" $host) }}
{{- end }}
{{- $claim := dig "persistence" "existingClaim" "" $dev }}
{{- if and $claim (eq $claim (default (include "familiar.fullname" (dict "Values" .Values "Release" .Release "Chart" .Chart "instance" "production")) .Values.persistence.existingClaim)) }}
{{- fail (printf "familiar: dev.persistence.existingClaim is %s, as that of the other instance; a volume is for one of them" $claim) }}
{{- end }}
{{- end }}
{{- end -}}
