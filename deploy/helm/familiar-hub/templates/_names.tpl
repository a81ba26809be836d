{{- define "familiar-hub.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* What KubeSpawner puts on every lab, and on nothing else. */}}
{{- define "familiar-hub.labSelector" -}}
app.kubernetes.io/component: singleuser-server
{{- end -}}

{{/* A profile's name as a label's value; familiar_hub.cluster.label makes the same. */}}
{{- define "familiar-hub.kind" -}}
{{- regexReplaceAll "[^a-z0-9._-]+" (lower .) "-" | trunc 63 | trimAll "-._" -}}
{{- end -}}

{{/* YAML reads a bare `off` as false, so both mean off. */}}
{{- define "familiar-hub.podmanMode" -}}
{{- ternary "off" .Values.podman.mode (eq (toString .Values.podman.mode) "false") -}}
{{- end -}}

{{- define "familiar-hub.sharedClaim" -}}
{{- if .Values.storage.shared.enabled -}}
{{- default (printf "%s-shared" .Values.name) .Values.storage.shared.existingClaim -}}
{{- end -}}
{{- end -}}

{{/* A whole number as text: helm reads numbers as floating-point ones, and a million would be 1e+06. */}}
{{- define "familiar-hub.whole" -}}
{{- printf "%d" (int64 .) -}}
{{- end -}}
