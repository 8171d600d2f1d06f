{{- /* What both webhooks have in common; the root, mutate or validate, and the PEM of the authorities. */}}
{{- define "task-resource-webhook.webhook" -}}
{{- $root := index . 0 -}}
{{- $verb := index . 1 -}}
{{- $values := $root.Values.webhooks -}}
name: {{ $verb }}.task-resources.io
admissionReviewVersions: [v1]
clientConfig:
  {{- with index . 2 }}
  caBundle: {{ b64enc . }}
  {{- end }}
  {{- if $values.url }}
  url: {{ $values.url }}/{{ $verb }}
  {{- else }}
  service:
    namespace: {{ include "task-resource-webhook.namespace" $root }}
    name: {{ include "task-resource-webhook.fullname" $root }}
    port: {{ int $root.Values.service.port }}
    path: /{{ $verb }}
  {{- end }}
rules:
- {apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods], scope: Namespaced}
# Without it a pod could be created small and resized past its maximum.
- {apiGroups: [""], apiVersions: [v1], operations: [UPDATE], resources: [pods/resize], scope: Namespaced}
# Only what a pod's author cannot set decides whether a pod is reviewed.
namespaceSelector:
  matchExpressions:
  {{- if eq $values.namespaces.mode "OptIn" }}
  - {key: task-resources.io/enforce, operator: In, values: [enabled]}
  {{- else }}
  - {key: task-resources.io/enforce, operator: NotIn, values: [disabled]}
  {{- end }}
  - key: kubernetes.io/metadata.name
    operator: NotIn
    values:
    {{- concat (list "kube-system" "kube-public" "kube-node-lease" (include "task-resource-webhook.namespace" $root)) $values.namespaces.exclude
      | uniq | toYaml | nindent 4 }}
  {{- with $values.namespaces.matchExpressions }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
# Static pods are the kubelet's: it runs them as its file says, whatever their mirror in the API shows. Both halves are
# needed, because anybody may set the annotation; every field is guarded, because an expression that fails refuses the pod
# under `failurePolicy: Fail`.
matchConditions:
- name: not-a-mirror-pod
  expression: >-
    !(has(object.metadata.annotations) && 'kubernetes.io/config.mirror' in object.metadata.annotations
    && has(request.userInfo.groups) && 'system:nodes' in request.userInfo.groups)
{{- with $values.matchConditions }}
{{ toYaml . }}
{{- end }}
matchPolicy: Equivalent
sideEffects: None
timeoutSeconds: {{ int $values.timeoutSeconds }}
failurePolicy: {{ $values.failurePolicy }}
{{- end }}
