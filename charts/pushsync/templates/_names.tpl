{{/* Names and labels. They follow the release's name, as the manifests of k8s/sidecar follow the name `site`. */}}

{{/* The name of the site: at most 52 characters, so that every name with a suffix is a valid one. */}}
{{- define "pushsync.name" -}}
{{- default .Release.Name .Values.name | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{/* What selects the pods. With the sidecar in a chart of your own, `selectorLabels` are the labels of its pods. */}}
{{- define "pushsync.selectorLabels" -}}
{{- if .Values.selectorLabels -}}
{{- toYaml .Values.selectorLabels -}}
{{- else -}}
app.kubernetes.io/name: {{ include "pushsync.name" . | quote }}
{{- end -}}
{{- end -}}

{{- define "pushsync.labels" -}}
app.kubernetes.io/name: {{ include "pushsync.name" . | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "pushsync.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{- define "pushsync.hookSecret" -}}
{{- default (printf "%s-hook" (include "pushsync.name" .)) .Values.webhook.secretName -}}
{{- end -}}

{{- define "pushsync.gitSecret" -}}
{{- default (printf "%s-git" (include "pushsync.name" .)) .Values.private.secretName -}}
{{- end -}}
