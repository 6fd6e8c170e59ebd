{{- /*
Values that the schema lets through and that make no sense. They are looked at here, because a schema can say of a text only
which pattern it breaks.
*/}}
{{- define "astromesh.checks" -}}
{{- range $name := list "nameOverride" "fullnameOverride" }}
{{- include "astromesh.checkName" (list $name (index $.Values $name) "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" "lower case letters, digits and -, for example astromesh") }}
{{- end }}
{{- range $index, $name := .Values.watchNamespaces }}
{{- include "astromesh.checkName" (list (printf "watchNamespaces[%d]" $index) $name "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$" "the name of a namespace, for example team-a") }}
{{- end }}
{{- $object := "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$" }}
{{- include "astromesh.checkName" (list "serviceAccount.name" .Values.serviceAccount.name $object "the name of a service account, for example astromesh-operator") }}
{{- include "astromesh.checkName" (list "priorityClassName" .Values.priorityClassName $object "the name of a PriorityClass, for example system-cluster-critical") }}
{{- range $name := list "image" "agentImage" }}
{{- $image := index $.Values $name }}
{{- include "astromesh.checkName" (list (printf "%s.repository" $name) $image.repository "^[a-zA-Z0-9.-]+(:[0-9]+/)?[a-z0-9._/-]*$" (printf "a name without tag and digest, for example registry.example.com/astromesh/operator, and %s.tag for the tag" $name)) }}
{{- include "astromesh.checkName" (list (printf "%s.tag" $name) $image.tag "^[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}$" "a tag, for example 1.2.3") }}
{{- end }}
{{- $level := "(?i:off|error|warn|info|debug|trace)" }}
{{- $directive := printf "([a-zA-Z_][a-zA-Z0-9_:-]*=)?%s" $level }}
{{- include "astromesh.checkName" (list "log.level" .Values.log.level (printf "^%s(,%s)*$" $directive $directive) "off, error, warn, info, debug or trace, or target=level separated by commas, for example info,kube=debug") }}
{{- range $kind, $quantities := .Values.resources }}
{{- range $resource, $quantity := $quantities }}
{{- include "astromesh.checkQuantity" (list (printf "resources.%s.%s" $kind $resource) $resource $quantity) }}
{{- end }}
{{- end }}
{{- end -}}

{{- /* (list path value pattern what-is-right); an empty text is a default. */}}
{{- define "astromesh.checkName" -}}
{{- $value := index . 1 }}
{{- if and $value (not (regexMatch (index . 2) $value)) }}
{{- fail (printf "%s is %q; use %s" (index . 0) $value (index . 3)) }}
{{- end }}
{{- end -}}

{{- /* (list path resource value) */}}
{{- define "astromesh.checkQuantity" -}}
{{- $path := index . 0 }}{{ $resource := index . 1 }}{{ $value := index . 2 }}
{{- /* A whole number in a file is a float for Helm, and would be written as 2.68e+08. */}}
{{- $text := kindIs "float64" $value | ternary (eq (float64 (int64 $value)) (float64 $value) | ternary (int64 $value | toString) (toString $value)) (toString $value) }}
{{- if eq $resource "cpu" }}
{{- if not (regexMatch "^([0-9]+m|[0-9]+([.][0-9]+)?)$" $text) }}
{{- fail (printf "%s is %q; use a number of cores, for example 0.5 or 500m" $path $text) }}
{{- end }}
{{- else if or (eq $resource "memory") (eq $resource "ephemeral-storage") }}
{{- if not (regexMatch "^[0-9]+([.][0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$" $text) }}
{{- fail (printf "%s is %q; use a number of bytes with its unit, for example 256Mi" $path $text) }}
{{- end }}
{{- $units := dict "" 1.0 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 }}
{{- $bytes := mulf (regexFind "^[0-9.]+" $text | float64) (get $units (regexFind "[a-zA-Z]*$" $text)) }}
{{- if and (eq $resource "memory") (lt $bytes 16777216.0) }}
{{- fail (printf "%s is %s, which is %.0f bytes; the operator needs 16Mi at least, for example 256Mi" $path $text $bytes) }}
{{- end }}
{{- end }}
{{- end -}}
