{{- /* What the schema cannot say: values that are right by themselves and wrong together. */}}
{{- define "task-resource-webhook.checks" -}}
{{- $certificates := .Values.certificates -}}
{{- if and $certificates.certManager.enabled $certificates.existingSecret -}}
{{- fail "certificates.certManager.enabled and certificates.existingSecret: choose one of them (or none: Helm makes the certificate)" -}}
{{- end -}}
{{- if and $certificates.existingSecret (not $certificates.caBundle) (not .Values.webhooks.url) -}}
{{- fail "certificates.existingSecret needs certificates.caBundle: the API server trusts no authority for a name in the cluster" -}}
{{- end -}}
{{- if and $certificates.certManager.issuerRef (not $certificates.certManager.enabled) -}}
{{- fail "certificates.certManager.issuerRef is given, but certificates.certManager.enabled is false" -}}
{{- end -}}
{{- if and $certificates.client.names (not $certificates.client.existingSecret) -}}
{{- fail "certificates.client.names needs certificates.client.existingSecret" -}}
{{- end -}}
{{- if and .Values.policies.files .Values.policies.existingConfigMap -}}
{{- fail "policies.files and policies.existingConfigMap: choose one of them" -}}
{{- end -}}
{{- if gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas) -}}
{{- fail "autoscaling.minReplicas is above autoscaling.maxReplicas" -}}
{{- end -}}
{{- if and .Values.metrics.serviceMonitor.enabled .Values.metrics.podMonitor.enabled -}}
{{- fail "metrics.serviceMonitor.enabled and metrics.podMonitor.enabled: choose one, or every replica is scraped twice" -}}
{{- end -}}
{{- if and .Values.metrics.serviceMonitor.enabled (not .Values.metrics.service.enabled) -}}
{{- fail "metrics.serviceMonitor.enabled needs metrics.service.enabled" -}}
{{- end -}}
{{- end }}

{{- /* A replica answers for drainSeconds after SIGTERM and has 10 seconds to finish what it has; 5 more to spare. */}}
{{- define "task-resource-webhook.graceSeconds" -}}
{{- $needed := add (ceil .Values.server.drainSeconds) 10 -}}
{{- $grace := .Values.terminationGracePeriodSeconds | default (add $needed 5) -}}
{{- if lt (int $grace) (int $needed) -}}
{{- fail (printf "terminationGracePeriodSeconds is %d, too short for server.drainSeconds: at least %d" (int $grace) (int $needed)) -}}
{{- end -}}
{{ int $grace }}
{{- end }}
