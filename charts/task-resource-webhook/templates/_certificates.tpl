{{- define "task-resource-webhook.certificatesByHelm" -}}
{{- if not (or .Values.certificates.certManager.enabled .Values.certificates.existingSecret) }}true{{ end }}
{{- end }}

{{- /* Each way has a Secret of its own, so that one can be changed for another. */}}
{{- define "task-resource-webhook.servingSecret" -}}
{{- $suffix := .Values.certificates.certManager.enabled | ternary "serving" "tls" -}}
{{ .Values.certificates.existingSecret | default (printf "%s-%s" (include "task-resource-webhook.fullname" .) $suffix) }}
{{- end }}

{{- define "task-resource-webhook.serviceHost" -}}
{{ include "task-resource-webhook.fullname" . }}.{{ include "task-resource-webhook.namespace" . }}.svc
{{- end }}

{{- /* The name by which the API server calls. */}}
{{- define "task-resource-webhook.calledHost" -}}
{{ (urlParse .Values.webhooks.url).hostname | default (include "task-resource-webhook.serviceHost" .) }}
{{- end }}

{{- /* The subject's alternative names, as YAML: dns and ip. That of the Service in any case, for `helm test`. */}}
{{- define "task-resource-webhook.subjectNames" -}}
{{- $called := include "task-resource-webhook.calledHost" . -}}
{{- $isAddress := or (contains ":" $called) (regexMatch "^[0-9.]+$" $called) -}}
dns: {{ list (include "task-resource-webhook.serviceHost" .) ($isAddress | ternary "" $called) | compact | uniq | toJson }}
ip: {{ list ($isAddress | ternary $called "") | compact | toJson }}
{{- end }}

{{- /* Where ca.crt comes from, as a source of a projected volume: what the API server trusts, which readiness compares the
served chain with. Nothing for a certificate of an authority that every API server trusts. */}}
{{- define "task-resource-webhook.caSource" -}}
{{- if and .Values.certificates.caBundle (not (include "task-resource-webhook.certificatesByHelm" .)) -}}
configMap: {name: {{ include "task-resource-webhook.fullname" . }}-ca-bundle, items: [{key: ca.crt, path: ca.crt}]}
{{- else if not .Values.certificates.existingSecret -}}
secret: {name: {{ include "task-resource-webhook.servingSecret" . }}, items: [{key: ca.crt, path: ca.crt}]}
{{- end -}}
{{- end }}

{{- /* The authority and the certificate that Helm makes, as YAML: those that are there, unless they end soon. Helm cannot
read a certificate, so annotations of the Secrets say when it ends and which names it has. `lookup` finds nothing in
`helm template` and a dry run: then they are made anew each time. */}}
{{- define "task-resource-webhook.certificateOfHelm" -}}
{{- $fullname := include "task-resource-webhook.fullname" . -}}
{{- $namespace := include "task-resource-webhook.namespace" . -}}
{{- $names := include "task-resource-webhook.subjectNames" . | fromYaml -}}
{{- $days := int .Values.certificates.helm.durationDays -}}
{{- $end := include "task-resource-webhook.inDays" $days -}}
{{- $soon := include "task-resource-webhook.inDays" (int .Values.certificates.helm.renewBeforeDays) -}}

{{- $secret := lookup "v1" "Secret" $namespace (printf "%s-ca" $fullname) | default dict -}}
{{- $caEnd := dig "metadata" "annotations" "task-resources.io/not-after" "" $secret -}}
{{- $ca := dict -}}
{{- /* An authority without an end was put there by hand. */}}
{{- if and $secret (or (not $caEnd) (gt $caEnd $soon)) -}}
  {{- $ca = buildCustomCert (index $secret.data "ca.crt") (index $secret.data "ca.key") -}}
{{- else -}}
  {{- $key := dig "data" "ca.key" "" $secret | b64dec | default (genPrivateKey "ecdsa") -}}
  {{- /* Not a name that the certificate may have: OpenSSL would take that for one that signed itself. */}}
  {{- $ca = genCAWithKey "task-resource-webhook authority" $days $key -}}
  {{- $caEnd = $end -}}
{{- end -}}

{{- $secret = lookup "v1" "Secret" $namespace (printf "%s-tls" $fullname) | default dict -}}
{{- $annotations := dig "metadata" "annotations" dict $secret -}}
{{- $oldEnd := index $annotations "task-resources.io/not-after" | default "" -}}
{{- $pair := dict -}}
{{- if and
  (eq (dig "data" "ca.crt" "" $secret) (b64enc $ca.Cert))
  (eq (index $annotations "task-resources.io/names" | default "") (toJson $names))
  (gt $oldEnd $soon)
-}}
  {{- $pair = dict "Cert" (index $secret.data "tls.crt" | b64dec) "Key" (index $secret.data "tls.key" | b64dec) -}}
  {{- $end = $oldEnd -}}
{{- else -}}
  {{- $pair = genSignedCertWithKey $fullname $names.ip $names.dns $days $ca (genPrivateKey "ecdsa") -}}
{{- end -}}
{{ dict "ca" $ca.Cert "caKey" $ca.Key "caEnd" $caEnd "cert" $pair.Cert "key" $pair.Key "end" $end "names" (toJson $names) | toYaml }}
{{- end }}

{{- /* A time so many days from now. All are in one zone and one layout, so they are in order where their text is. */}}
{{- define "task-resource-webhook.inDays" -}}
{{ dateInZone "2006-01-02T15:04:05Z07:00" (now | dateModify (printf "+%dh" (mul 24 .))) "UTC" }}
{{- end }}
