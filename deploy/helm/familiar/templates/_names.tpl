{{/*
What everything is called, and who is meant: the instances, each of which the other templates see as if it were alone.
*/}}

{{/*
Render a template for each instance, in a context like Helm's own, with that instance's values and `instance`, which is
`production` or `dev`. Takes a list of the root context and the template's name.
*/}}
{{- define "familiar.each" -}}
{{- $root := index . 0 -}}
{{- $template := index . 1 -}}
{{- $shared := dict "Release" $root.Release "Chart" $root.Chart "Capabilities" $root.Capabilities "Files" $root.Files "Template" $root.Template -}}
{{- $production := omit $root.Values "dev" "global" -}}
{{- include $template (merge (dict "instance" "production" "Values" $production) $shared) }}
{{- if $root.Values.dev.enabled }}
{{- $passedOn := deepCopy $production -}}
{{- $own := dict "ingress" (dict "host" "" "tls" (dict "secretName" "")) "persistence" (dict "existingClaim" "") "token" (dict "existingSecret" "") "oauth2Proxy" (dict "redirectUrl" "") "serviceAccount" (dict "name" "") "extraVolumes" list "extraVolumeMounts" list -}}
{{- $dev := mustMergeOverwrite $passedOn $own (deepCopy (omit $root.Values.dev "enabled")) -}}
{{- include $template (merge (dict "instance" "dev" "Values" $dev) $shared) }}
{{- end }}
{{- end -}}

{{- define "familiar.chartName" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{/* The name of an instance, of at most 47 characters: what is put behind it still makes a name. */}}
{{- define "familiar.fullname" -}}
{{- $name := include "familiar.chartName" . -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- $full = default $full .Values.fullnameOverride | trunc 43 | trimSuffix "-" -}}
{{- ternary (printf "%s-dev" $full) $full (eq .instance "dev") -}}
{{- end -}}

{{/* What a Deployment selects can never be changed, so nothing stands here that a value or a version can change. */}}
{{- define "familiar.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: {{ .instance }}
{{- end -}}

{{- define "familiar.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{ include "familiar.selector" . }}
{{- end -}}

{{/* The labels of the Pod of `helm test`, which the NetworkPolicy lets in. */}}
{{- define "familiar.testLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: {{ .instance }}-test
{{- end -}}

{{- define "familiar.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{- define "familiar.claim" -}}
{{- default (include "familiar.fullname" .) .Values.persistence.existingClaim -}}
{{- end -}}

{{- define "familiar.tokenSecret" -}}
{{- default (printf "%s-token" (include "familiar.fullname" .)) .Values.token.existingSecret -}}
{{- end -}}

{{- define "familiar.tokenKey" -}}
{{- ternary .Values.token.key "token" (ne .Values.token.existingSecret "") -}}
{{- end -}}

{{- define "familiar.serviceAccount" -}}
{{- default (ternary (include "familiar.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{/* YAML reads a bare `off` as false, so both mean off. */}}
{{- define "familiar.podmanMode" -}}
{{- ternary "off" .Values.podman.mode (eq (toString .Values.podman.mode) "false") -}}
{{- end -}}

{{- define "familiar.kubeAccess" -}}
{{- ternary "off" .Values.kubeAccess (eq (toString .Values.kubeAccess) "false") -}}
{{- end -}}

{{/* Where OAuth2 Proxy's provider sends people back to. */}}
{{- define "familiar.redirectUrl" -}}
{{- if .Values.oauth2Proxy.redirectUrl -}}
{{ .Values.oauth2Proxy.redirectUrl }}
{{- else if and .Values.ingress.enabled .Values.ingress.host -}}
https://{{ .Values.ingress.host }}/oauth2/callback
{{- end -}}
{{- end -}}
