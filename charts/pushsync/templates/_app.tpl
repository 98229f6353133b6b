{{/* The container that reads the tree: the httpd of k8s/sidecar, or the image of `app.image`. */}}
{{- define "pushsync.app" -}}
{{- $httpd := eq .Values.app.kind "httpd" -}}
- name: app
  image: {{ ternary (default "httpd:2.4-alpine" .Values.app.image) .Values.app.image $httpd }}
  {{- with .Values.app.imagePullPolicy }}
  imagePullPolicy: {{ . }}
  {{- end }}
  {{- if $httpd }}
  command: [httpd, -DFOREGROUND, -f, /etc/site/httpd.conf]
  {{- else if .Values.app.command }}
  command:
    {{- toYaml .Values.app.command | nindent 4 }}
  {{- end }}
  {{- with .Values.app.args }}
  args:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.app.env }}
  env:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.app.port }}
  ports:
    - name: http
      containerPort: {{ . }}
  {{- end }}
  {{- with default (ternary (dict "httpGet" (dict "path" "/-/alive" "port" "http") "periodSeconds" 5) dict $httpd) .Values.app.readinessProbe }}
  readinessProbe:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with default (ternary (dict "httpGet" (dict "path" "/-/alive" "port" "http") "periodSeconds" 10 "failureThreshold" 6) dict $httpd) .Values.app.livenessProbe }}
  livenessProbe:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with default (ternary (dict "preStop" (dict "exec" (dict "command" (list "sleep" "5")))) dict $httpd) .Values.app.lifecycle }}
  lifecycle:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.app.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.app.securityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  volumeMounts:
    {{- include "pushsync.mount" . | nindent 4 }}
    {{- if $httpd }}
    - name: httpd
      mountPath: /etc/site
      readOnly: true
    - name: run
      mountPath: /run
    {{- end }}
    {{- with .Values.app.volumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
