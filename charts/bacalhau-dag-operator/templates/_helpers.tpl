{{/* The name of everything in the release: the release's own if it says what it is, else with the chart's. */}}
{{- define "operator.fullname" -}}
{{- $name := ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) (contains .Chart.Name .Release.Name) -}}
{{- $name | trunc 53 | trimSuffix "-" -}}
{{- end -}}

{{/* What selects the operator's Pod; it must never change. */}}
{{- define "operator.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "operator.labels" -}}
{{ include "operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "operator.serviceAccountName" -}}
{{- $default := ternary (include "operator.fullname" .) "default" .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default $default -}}
{{- end -}}

{{/* What the operator may do wherever it serves DAGs. The API lists are read by watching; a finalizer is set by patching. */}}
{{- define "operator.rules" -}}
- apiGroups: [bacalhau.org]
  resources: [bacalhaudags]
  verbs: [get, list, watch, patch]
- apiGroups: [bacalhau.org]
  resources: [bacalhauconnections]
  verbs: [get, list, watch]
- apiGroups: [bacalhau.org]
  resources: [bacalhaudags/status, bacalhauconnections/status]
  verbs: [patch]
# Credentials of connections and values of parameters, by name; it cannot list Secrets or ConfigMaps.
- apiGroups: [""]
  resources: [configmaps, secrets]
  verbs: [get]
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{- define "operator.subjects" -}}
- kind: ServiceAccount
  name: {{ include "operator.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}
