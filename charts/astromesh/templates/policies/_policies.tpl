{{- /*
What binds the operator's account beyond its role: a role knows verbs and kinds, a policy knows objects.

children           whose the objects are: names, labels, owners, namespaces
deployments, services, service-accounts, claims
                   what they look like
pods               one annotation
others             nothing else
*/}}

{{- /* Whether to render them: a cluster that was asked has the API, or none was asked (`helm template`, which knows no kinds). */}}
{{- define "astromesh.policies" -}}
{{- $versions := .Capabilities.APIVersions }}
{{- $there := $versions.Has "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy" }}
{{- if and .Values.policy.enabled (or $there (not ($versions.Has "v1/Pod"))) }}true{{ end }}
{{- end -}}

{{- /* The kinds of agents' children. A new one is one more line here, and one in the role. */}}
{{- define "astromesh.childKinds" -}}
- {apiGroups: [""], apiVersions: [v1], operations: [CREATE, UPDATE, DELETE], resources: [configmaps, serviceaccounts, services, persistentvolumeclaims]}
- {apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE, DELETE], resources: [deployments]}
{{- end -}}

{{- /* A list of strings in the language of policies. */}}
{{- define "astromesh.celList" -}}
['{{ join "', '" . }}']
{{- end -}}

{{- /* Where the operator changes nothing. Its own namespace is open if watchNamespaces names it: there is no other one for its agents. */}}
{{- define "astromesh.closedNamespaces" -}}
{{- $closed := list "kube-system" "kube-public" "kube-node-lease" }}
{{- if not (has .Release.Namespace .Values.watchNamespaces) }}{{ $closed = append $closed .Release.Namespace }}{{ end }}
{{- include "astromesh.celList" $closed }}
{{- end -}}

{{- /* The name of a policy and of its binding: (list . "pods"). They belong to no namespace, so their names say which one they are of. */}}
{{- define "astromesh.policyMetadata" -}}
{{- $root := index . 0 -}}
name: {{ include "astromesh.fullname" $root }}.{{ $root.Release.Namespace }}.{{ index . 1 }}
labels:
  {{- include "astromesh.labels" $root | nindent 2 }}
{{- end -}}

{{- /* Whom a policy is about, and what happens when it cannot be evaluated. */}}
{{- define "astromesh.policySubject" -}}
failurePolicy: Fail
matchConditions:
  - name: the-operator
    expression: request.userInfo.username == 'system:serviceaccount:{{ .Release.Namespace }}:{{ include "astromesh.serviceAccount" . }}'
{{- end -}}

{{- define "astromesh.policyBinding" -}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  {{- include "astromesh.policyMetadata" . | nindent 2 }}
spec:
  policyName: {{ include "astromesh.fullname" (index . 0) }}.{{ (index . 0).Release.Namespace }}.{{ index . 1 }}
  validationActions: [Deny]
{{- end -}}

{{- /* Fields that the operator never sets. What somebody else has set on the live object stays, unchanged: (list "variables.pod" "variables.podBefore" "spec.template.spec" (list "hostPID")); the second is a list of one or none. */}}
{{- define "astromesh.neverSet" -}}
{{- $new := index . 0 }}{{ $old := index . 1 }}{{ $path := index . 2 }}
{{- range index . 3 }}
- expression: "!has({{ $new }}.{{ . }}) || {{ $old }}.exists(before, has(before.{{ . }}) && before.{{ . }} == {{ $new }}.{{ . }})"
  message: {{ printf "%s.%s is set or changed, which the operator never does" $path . | quote }}
  reason: Forbidden
{{- end }}
{{- end -}}
