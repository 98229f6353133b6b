{{/*
The sidecar, its volumes and the mount of the app. A chart of your own may include them in its pods; README.md shows how.
k8s/sidecar/deployment.yaml explains each value.
*/}}

{{/* An item of `initContainers`. */}}
{{- define "pushsync.sidecar" -}}
{{- $http := regexMatch "^https?://" .Values.repo -}}
{{- if and $http (eq .Values.private.kind "ssh") -}}
{{- fail (printf "private.kind ssh needs an ssh address in repo, and not %s" .Values.repo) -}}
{{- else if and (not $http) (has .Values.private.kind (list "token" "app")) -}}
{{- fail (printf "private.kind %s needs an https address in repo, and not %s" .Values.private.kind .Values.repo) -}}
{{- end -}}
- name: poll
  image: {{ include "pushsync.image" . }}
  {{- with .Values.image.pullPolicy }}
  imagePullPolicy: {{ . }}
  {{- end }}
  restartPolicy: Always
  args:
    - --root=/git
    - --volume-limit={{ .Values.volume.limit }}
    - --link=current
    - --period={{ .Values.period }}
    {{- if .Values.webhook.enabled }}
    - --hook-bind=:8080
    - --hook-path={{ .Values.webhook.path }}
    - --hook-secret-file=/etc/hook/current
    - --hook-secret-file=/etc/hook/previous
    - --hook-secret-optional
    {{- end }}
    - --http-bind=:8081
    - --http-metrics
    {{- if and .Values.webhook.enabled .Values.peers.enabled }}
    - --peers=$(PEERS_SERVICE):8080
    {{- end }}
    {{- if eq .Values.private.kind "token" }}
    - --username={{ .Values.private.username }}
    - --password-file=/etc/git/token
    {{- else if eq .Values.private.kind "app" }}
    - --github-app-private-key-file=/etc/git/private-key
    {{- /* GitHub Enterprise Server has its API on its own host. */}}
    {{- $host := lower (urlParse .Values.repo).hostname }}
    {{- $api := ternary "" (printf "https://%s/api/v3/" $host) (eq $host "github.com") }}
    {{- with default $api .Values.private.baseUrl }}
    - --github-base-url={{ . }}
    {{- end }}
    {{- end }}
    {{- with .Values.extraArgs }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  env:
    - name: GIT_REPO
      value: {{ .Values.repo | quote }}
    - name: PUSHSYNC_REF
      value: {{ .Values.ref | quote }}
    {{- if and .Values.webhook.enabled .Values.peers.enabled }}
    - name: PEERS_SERVICE
      value: {{ include "pushsync.name" . }}-peers
    {{- end }}
    {{- if eq .Values.private.kind "app" }}
    - name: PUSHSYNC_GITHUB_APP_CLIENT_ID
      valueFrom:
        secretKeyRef:
          name: {{ include "pushsync.gitSecret" . | quote }}
          key: client-id
    - name: PUSHSYNC_GITHUB_APP_INSTALLATION_ID
      valueFrom:
        secretKeyRef:
          name: {{ include "pushsync.gitSecret" . | quote }}
          key: installation-id
    {{- end }}
    {{- with .Values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    {{- if .Values.webhook.enabled }}
    - name: hook
      containerPort: 8080
    {{- end }}
    - name: health
      containerPort: 8081
  terminationMessagePolicy: FallbackToLogsOnError
  startupProbe:
    httpGet:
      path: /startupz
      port: health
    periodSeconds: 1
    failureThreshold: {{ .Values.startupSeconds }}
  readinessProbe:
    httpGet:
      path: /readyz
      port: health
    periodSeconds: 5
  livenessProbe:
    httpGet:
      path: /livez
      port: health
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 6
  {{- with .Values.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.securityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  volumeMounts:
    - name: git
      mountPath: /git
    {{- if .Values.webhook.enabled }}
    - name: hook-secret
      mountPath: /etc/hook
      readOnly: true
    {{- end }}
    {{- if ne .Values.private.kind "none" }}
    - name: git-secret
      mountPath: {{ ternary "/etc/git-secret" "/etc/git" (eq .Values.private.kind "ssh") }}
      readOnly: true
    {{- end }}
    {{- with .Values.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* Items of `volumes`. */}}
{{- define "pushsync.volumes" -}}
- name: git
  emptyDir:
    sizeLimit: {{ .Values.volume.sizeLimit }}
{{- if .Values.webhook.enabled }}
- name: hook-secret
  secret:
    secretName: {{ include "pushsync.hookSecret" . | quote }}
    optional: true
    defaultMode: 288
{{- end }}
{{- if ne .Values.private.kind "none" }}
- name: git-secret
  secret:
    secretName: {{ include "pushsync.gitSecret" . | quote }}
    defaultMode: 288
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* An item of `volumeMounts` of each container that reads the tree. */}}
{{- define "pushsync.mount" -}}
- name: git
  mountPath: {{ .Values.app.mountPath | quote }}
  readOnly: true
{{- end -}}
