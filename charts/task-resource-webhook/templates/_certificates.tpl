{{- define "task-resource-webhook.certificatesByHelm" -}}
{{- if not (or .Values.certificates.certManager.enabled .Values.certificates.existingSecret) }}true{{ end }}
{{- end }}

{{- /* Each way has a Secret of its own, so that one can be changed for another. */}}
{{- define "task-resource-webhook.servingSecret" -}}
{{- $suffix := .Values.certificates.certManager.enabled | ternary "serving" "tls" -}}
{{ .Values.certificates.existingSecret | default (printf "%s-%s" (include "task-resource-webhook.fullname" .) $suffix) }}
{{- end }}

{{- /* The name by which the API server calls; of the Service in any case, for `helm test`. */}}
{{- define "task-resource-webhook.serviceHost" -}}
{{ include "task-resource-webhook.fullname" . }}.{{ include "task-resource-webhook.namespace" . }}.svc
{{- end }}

{{- /* The subject's alternative names, as YAML: dns and ip. */}}
{{- define "task-resource-webhook.subjectNames" -}}
{{- $dns := list (include "task-resource-webhook.serviceHost" .) -}}
{{- $ip := list -}}
{{- with .Values.webhooks.url -}}
  {{- $host := (urlParse .).hostname -}}
  {{- if or (contains ":" $host) (regexMatch "^[0-9.]+$" $host) -}}
    {{- $ip = append $ip $host -}}
  {{- else -}}
    {{- $dns = append $dns $host | uniq -}}
  {{- end -}}
{{- end -}}
{{ dict "dns" $dns "ip" $ip | toYaml }}
{{- end }}

{{- /* Where ca.crt comes from, as a source of a projected volume: what the API server trusts, so that readiness compares
the served chain with that. */}}
{{- define "task-resource-webhook.caSource" -}}
{{- $isSecret := or (include "task-resource-webhook.certificatesByHelm" .) (not .Values.certificates.caBundle) -}}
{{- if and .Values.certificates.existingSecret $isSecret -}}
{{- /* A certificate of an authority that every API server trusts: there is nothing to compare with. */}}
{{- else if $isSecret -}}
secret: {name: {{ include "task-resource-webhook.servingSecret" . }}, items: [{key: ca.crt, path: ca.crt}]}
{{- else -}}
configMap: {name: {{ include "task-resource-webhook.fullname" . }}-ca-bundle, items: [{key: ca.crt, path: ca.crt}]}
{{- end -}}
{{- end }}

{{- /* The authority and the certificate that Helm makes, as YAML, base64: those that are there, unless they end soon.
Helm cannot read a certificate, so annotations of the Secrets say when it ends and which names it has. `lookup` finds
nothing in `helm template` and a dry run: then they are made anew each time. */}}
{{- define "task-resource-webhook.certificateOfHelm" -}}
{{- $namespace := include "task-resource-webhook.namespace" . -}}
{{- $fullname := include "task-resource-webhook.fullname" . -}}
{{- $names := include "task-resource-webhook.subjectNames" . | fromYaml -}}
{{- $days := int .Values.certificates.helm.durationDays -}}
{{- $layout := "2006-01-02T15:04:05Z07:00" -}}
{{- $end := dateInZone $layout (now | dateModify (printf "+%dh" (mul 24 $days))) "UTC" -}}
{{- $due := dateInZone $layout (now | dateModify (printf "+%dh" (mul 24 (int .Values.certificates.helm.renewBeforeDays)))) "UTC" -}}
{{- $oldCa := lookup "v1" "Secret" $namespace (printf "%s-ca" $fullname) | default dict -}}
{{- $old := lookup "v1" "Secret" $namespace (printf "%s-tls" $fullname) | default dict -}}
{{- $caAnnotations := dig "metadata" "annotations" dict $oldCa -}}
{{- $annotations := dig "metadata" "annotations" dict $old -}}
{{- $ca := dict -}}
{{- $caEnd := index $caAnnotations "task-resources.io/not-after" | default "" -}}
{{- /* Times in one zone and one layout are in order where their text is. Whose end is not known was put there by hand. */}}
{{- if and $oldCa (or (not $caEnd) (gt $caEnd $due)) -}}
  {{- $ca = buildCustomCert (index $oldCa.data "ca.crt") (index $oldCa.data "ca.key") -}}
{{- else -}}
  {{- $key := $oldCa | empty | ternary (genPrivateKey "ecdsa") (dig "data" "ca.key" "" $oldCa | b64dec) -}}
  {{- $ca = genCAWithKey "task-resource-webhook" $days $key -}}
  {{- $caEnd = $end -}}
{{- end -}}
{{- $kept := and
  (eq (dig "data" "ca.crt" "" $old) (b64enc $ca.Cert))
  (eq (index $annotations "task-resources.io/names" | default "") (toJson $names))
  (gt (index $annotations "task-resources.io/not-after" | default "") $due)
-}}
{{- if $kept -}}
  {{- dict "ca.crt" (b64enc $ca.Cert) "ca.key" (b64enc $ca.Key) "tls.crt" (index $old.data "tls.crt") "tls.key" (index $old.data "tls.key")
    "caEnd" $caEnd "end" (index $annotations "task-resources.io/not-after") "names" (toJson $names) | toYaml -}}
{{- else -}}
  {{- $made := genSignedCertWithKey $fullname $names.ip $names.dns $days $ca (genPrivateKey "ecdsa") -}}
  {{- dict "ca.crt" (b64enc $ca.Cert) "ca.key" (b64enc $ca.Key) "tls.crt" (b64enc $made.Cert) "tls.key" (b64enc $made.Key)
    "caEnd" $caEnd "end" $end "names" (toJson $names) | toYaml -}}
{{- end -}}
{{- end }}
