{{- define "task-resource-webhook.name" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* 50 characters: with the longest suffix, a name that must be a DNS label has 63 at the most. */}}
{{- define "task-resource-webhook.fullname" -}}
{{- $name := include "task-resource-webhook.name" . -}}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{ .Values.fullnameOverride | default $full | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "task-resource-webhook.namespace" -}}
{{ .Values.namespaceOverride | default .Release.Namespace }}
{{- end }}

{{- define "task-resource-webhook.serviceAccountName" -}}
{{ .Values.serviceAccount.name | default (.Values.serviceAccount.create | ternary (include "task-resource-webhook.fullname" .) "default") }}
{{- end }}

{{- define "task-resource-webhook.image" -}}
{{- $image := .Values.image -}}
{{ with $image.registry }}{{ . }}/{{ end }}{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "task-resource-webhook.policiesConfigMap" -}}
{{ .Values.policies.existingConfigMap | default (printf "%s-policies" (include "task-resource-webhook.fullname" .)) }}
{{- end }}

{{- define "task-resource-webhook.selectorLabels" -}}
app.kubernetes.io/name: {{ include "task-resource-webhook.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "task-resource-webhook.labels" -}}
{{- $ours := dict
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63)
  "app.kubernetes.io/version" .Chart.AppVersion
  "app.kubernetes.io/managed-by" .Release.Service
-}}
{{ merge dict (include "task-resource-webhook.selectorLabels" . | fromYaml) $ours .Values.commonLabels | toYaml }}
{{- end }}

{{- /* The metadata of an object: a list of the root, a suffix of the name, and its own labels and annotations. */}}
{{- define "task-resource-webhook.metadata" -}}
{{- $root := index . 0 -}}
{{- $own := last . | kindIs "map" | ternary (last .) dict -}}
name: {{ include "task-resource-webhook.fullname" $root }}{{ index . 1 }}
{{- if not $own.clusterScoped }}
namespace: {{ include "task-resource-webhook.namespace" $root }}
{{- end }}
labels:
  {{- merge dict (include "task-resource-webhook.labels" $root | fromYaml) ($own.labels | default dict) | toYaml | nindent 2 }}
{{- with merge dict ($own.annotations | default dict) $root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
