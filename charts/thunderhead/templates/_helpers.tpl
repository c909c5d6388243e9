{{- define "thunderhead.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "thunderhead.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "thunderhead.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "thunderhead.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What finds the operator's pods; never changes in the life of a release. */}}
{{- define "thunderhead.selectorLabels" -}}
app.kubernetes.io/name: thunderhead
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{/* Of the pod of `helm test`; no operator, so that no Service and no budget counts it. */}}
{{- define "thunderhead.testLabels" -}}
app.kubernetes.io/name: thunderhead
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: test
{{- end -}}

{{- define "thunderhead.labels" -}}
{{ include "thunderhead.selectorLabels" . }}
app.kubernetes.io/part-of: thunderhead
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- include "thunderhead.commonLabels" . }}
{{- end -}}

{{/* The site's own labels; the chart's win, for a selector that does not find its pods is an operator that nobody sees. */}}
{{- define "thunderhead.commonLabels" -}}
{{- $own := list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" "app.kubernetes.io/part-of" "app.kubernetes.io/version" "app.kubernetes.io/managed-by" "helm.sh/chart" -}}
{{- range $key, $value := .Values.commonLabels }}
{{- if has $key $own }}
{{- fail (printf "commonLabels: %s is the chart's own label; name another" $key) }}
{{- end }}
{{ $key }}: {{ $value | quote }}
{{- end }}
{{- end -}}

{{- define "thunderhead.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "thunderhead.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed when serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* What the profile restricted asks of a pod, and of a container, which cannot write its root file system either. */}}
{{- define "thunderhead.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "thunderhead.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* An image's full name: (dict "image" .Values.image "version" .Chart.AppVersion). */}}
{{- define "thunderhead.image" -}}
{{- if .image.digest -}}
{{- printf "%s@%s" .image.repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" .image.repository (default .version .image.tag) -}}
{{- end -}}
{{- end -}}

{{/* Namespaces to watch as a JSON list; empty for all of the cluster. */}}
{{- define "thunderhead.namespaces" -}}
{{- if eq .Values.rbac.scope "namespaced" -}}
{{- default (list .Release.Namespace) .Values.watchNamespaces | uniq | toJson -}}
{{- else if .Values.watchNamespaces -}}
{{- fail "watchNamespaces needs rbac.scope namespaced: with scope cluster the operator runs the jobs of every namespace" -}}
{{- else -}}
[]
{{- end -}}
{{- end -}}

{{/* Where agents listen: AGENT_PORT of the treaty. */}}
{{- define "thunderhead.agentPort" -}}
9400
{{- end -}}

{{- define "thunderhead.hasPrometheusOperator" -}}
{{- if .Capabilities.APIVersions.Has "monitoring.coreos.com/v1" -}}true{{- end -}}
{{- end -}}

{{/* Rights on jobs and their children: no Secret can be read, no exec, no wildcard, nothing the operator does not do. */}}
{{- define "thunderhead.rules" -}}
- apiGroups: [thunderhead.dev]
  resources: [trainingjobs]
  verbs: [get, list, watch, delete]
- apiGroups: [thunderhead.dev]
  resources: [trainingjobs/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, create, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create]
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, update]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end -}}


{{/* Who may reach the agents' port: the operator's own pods, then whoever the values name. */}}
{{- define "thunderhead.agentPeers" -}}
{{- $namespace := dict "matchLabels" (dict "kubernetes.io/metadata.name" .Release.Namespace) -}}
{{- $pods := dict "matchLabels" (include "thunderhead.selectorLabels" . | fromYaml) -}}
{{- $operator := dict "namespaceSelector" $namespace "podSelector" $pods -}}
{{- prepend .Values.networkPolicy.agentPeers $operator | toJson -}}
{{- end -}}

{{- define "thunderhead.args" -}}
{{ range include "thunderhead.namespaces" . | fromJsonArray }}
- --namespace={{ . }}
{{- end }}
- --metrics-port={{ .Values.metrics.port }}
- --health-port={{ .Values.health.port }}
- --lease-name={{ include "thunderhead.fullname" . }}
- {{ printf "--runtime-image=%s" (include "thunderhead.image" (dict "image" .Values.runtimeImage "version" .Chart.AppVersion)) | quote }}
- {{ printf "--policy=%s" (dict "allow" .Values.policy.allow "serviceAccounts" .Values.policy.serviceAccounts | toJson) | quote }}
- {{ printf "--agent-peers=%s" (include "thunderhead.agentPeers" .) | quote }}
- --node-loss-toleration-seconds={{ .Values.nodeLossTolerationSeconds }}
{{- with .Values.runtimeImage.pullPolicy }}
- --runtime-pull-policy={{ . }}
{{- end }}
{{- range .Values.runtimeImage.pullSecrets }}
- --runtime-pull-secret={{ .name }}
{{- end }}
- --workers={{ .Values.workers }}
{{- if .Values.api.qps }}
- --api-qps={{ .Values.api.qps }}
- --api-burst={{ .Values.api.burst }}
{{- end }}
- --log-level={{ .Values.log.level }}
- --log-format={{ .Values.log.format }}
{{- end -}}
