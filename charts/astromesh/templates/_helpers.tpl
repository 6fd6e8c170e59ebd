{{- define "astromesh.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- printf "%s-operator" (.Release.Name | trunc 44 | trimSuffix "-") -}}
{{- else -}}
{{- printf "%s-%s-operator" (.Release.Name | trunc 30 | trimSuffix "-") ($name | trunc 14 | trimSuffix "-") -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The name of the Service: a release may be named with dots or begin with a digit, and a Service may not. */}}
{{- define "astromesh.service" -}}
{{- $name := include "astromesh.fullname" . | replace "." "-" -}}
{{- if regexMatch "^[a-z]" $name }}{{ $name }}{{ else }}{{ printf "s-%s" $name }}{{ end -}}
{{- end -}}

{{- define "astromesh.serviceAccount" -}}
{{- default (include "astromesh.fullname" .) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "astromesh.selector" -}}
app.kubernetes.io/name: astromesh
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "astromesh.labels" -}}
{{ include "astromesh.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- /* What the operator may do where it serves. No wildcard, and nothing on Secrets. */}}
{{- define "astromesh.rules" -}}
- apiGroups: [astromesh.io]
  resources: [agents, providers]
  verbs: [get, list, watch]
- apiGroups: [astromesh.io]
  resources: [agents/status, providers/status]
  verbs: [patch]
# The children of agents, and the ConfigMaps of their prompts. A server-side apply is a patch, and a create where there was nothing.
- apiGroups: [""]
  resources: [configmaps, serviceaccounts, services, persistentvolumeclaims]
  verbs: [get, list, watch, create, patch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch]
# An annotation on a live pod makes the kubelet refresh its volumes at once.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
