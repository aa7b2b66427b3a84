{{/* The value of app.kubernetes.io/name. */}}
{{- define "monitoringdaemon.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The name of all resources; short enough for the number that a StatefulSet adds. */}}
{{- define "monitoringdaemon.fullname" -}}
{{- $name := include "monitoringdaemon.name" . }}
{{- $both := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) }}
{{- .Values.fullnameOverride | default $both | trunc 52 | trimSuffix "-" }}
{{- end }}

{{/* The labels that select the pods. They cannot be changed later. */}}
{{- define "monitoringdaemon.selectorLabels" -}}
app.kubernetes.io/name: {{ include "monitoringdaemon.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "monitoringdaemon.labels" -}}
{{ include "monitoringdaemon.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}
