{{- define "astromesh.name" -}}
{{- if contains "astromesh" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-astromesh" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "astromesh.selector" -}}
app.kubernetes.io/name: astromesh
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "astromesh.labels" -}}
{{ include "astromesh.selector" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- /*
What the operator may do where agents live. No verb on Secrets and no wildcard: see docs/adr/0004.
Children are never deleted by it: owner references do that.
*/}}
{{- define "astromesh.rules" -}}
- apiGroups: [astromesh.io]
  resources: [agents, providers]
  verbs: [get, list, watch]
- apiGroups: [astromesh.io]
  resources: [agents/status, providers/status]
  verbs: [get, patch, update]
# Where OwnerReferencesPermissionEnforcement is on, owning a child needs this.
- apiGroups: [astromesh.io]
  resources: [agents/finalizers]
  verbs: [update]
- apiGroups: [""]
  resources: [configmaps, serviceaccounts, services]
  verbs: [get, list, watch, create, patch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch]
# patch: an annotation that makes the kubelet refresh the pod's document at once.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
