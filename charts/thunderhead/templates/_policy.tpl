{{/* The rules of policy.allow: what must hold of a template, as CEL. plan/policy.py has the same in Python. */}}
{{- define "thunderhead.denied" -}}
- rule: hostNamespaces
  why: a pod shares no namespace and no port with its node
  holds: >-
    (!has(object.spec.podTemplate.spec) || (
    !(has(object.spec.podTemplate.spec.hostNetwork) && object.spec.podTemplate.spec.hostNetwork) &&
    !(has(object.spec.podTemplate.spec.hostPID) && object.spec.podTemplate.spec.hostPID) &&
    !(has(object.spec.podTemplate.spec.hostIPC) && object.spec.podTemplate.spec.hostIPC))) &&
    {{ include "thunderhead.every" "!has(c.ports) || c.ports.all(p, !has(p.hostPort) || p.hostPort == 0)" }}
- rule: probeHosts
  why: the node's kubelet sends probes and hooks to the pod itself, and to no other host
  holds: >-
    {{- range $index, $handler := list "startupProbe" "readinessProbe" "livenessProbe" "lifecycle.postStart" "lifecycle.preStop" }}
    {{- range $action := list "httpGet" "tcpSocket" }}
    {{- $host := printf "c.%s.%s.host" $handler $action }}
    {{- if or $index (eq $action "tcpSocket") }} &&{{ end }}
    {{ include "thunderhead.every" (printf "!(%s%s != '')" (include "thunderhead.there" $host) $host) }}
    {{- end }}
    {{- end }}
- rule: hostPath
  why: a pod mounts nothing of its node, and no volume that runs programs there
  holds: variables.volumes.all(v, !has(v.hostPath) && !has(v.flexVolume) && !has(v.gitRepo))
- rule: privileged
  why: no container is privileged
  holds: >-
    {{ include "thunderhead.every" "!has(c.securityContext) || (!(has(c.securityContext.privileged) && c.securityContext.privileged) && !(has(c.securityContext.windowsOptions) && has(c.securityContext.windowsOptions.hostProcess) && c.securityContext.windowsOptions.hostProcess))" }} &&
    !({{ include "thunderhead.podContext" "windowsOptions" }} &&
    has(object.spec.podTemplate.spec.securityContext.windowsOptions.hostProcess) &&
    object.spec.podTemplate.spec.securityContext.windowsOptions.hostProcess)
- rule: capabilities
  why: no container adds capabilities or keeps any
  holds: >-
    {{ include "thunderhead.every" "!has(c.securityContext) || !has(c.securityContext.capabilities) || ((!has(c.securityContext.capabilities.add) || size(c.securityContext.capabilities.add) == 0) && (!has(c.securityContext.capabilities.drop) || 'ALL' in c.securityContext.capabilities.drop))" }}
- rule: rootUser
  why: no container runs as root or may
  holds: >-
    {{ include "thunderhead.every" "!has(c.securityContext) || (!(has(c.securityContext.runAsUser) && c.securityContext.runAsUser == 0) && !(has(c.securityContext.runAsNonRoot) && !c.securityContext.runAsNonRoot))" }} &&
    !({{ include "thunderhead.podContext" "runAsUser" }} && object.spec.podTemplate.spec.securityContext.runAsUser == 0) &&
    !({{ include "thunderhead.podContext" "runAsNonRoot" }} && !object.spec.podTemplate.spec.securityContext.runAsNonRoot)
- rule: privilegeEscalation
  why: no container gains privileges
  holds: >-
    {{ include "thunderhead.every" "!has(c.securityContext) || !(has(c.securityContext.allowPrivilegeEscalation) && c.securityContext.allowPrivilegeEscalation)" }}
- rule: unconfined
  why: no container takes off seccomp, AppArmor, SELinux, the masks of /proc, or sets sysctls
  holds: >-
    {{ include "thunderhead.every" "!has(c.securityContext) || (!(has(c.securityContext.seccompProfile) && c.securityContext.seccompProfile.type == 'Unconfined') && !(has(c.securityContext.appArmorProfile) && c.securityContext.appArmorProfile.type == 'Unconfined') && !(has(c.securityContext.procMount) && c.securityContext.procMount != 'Default'))" }} &&
    !({{ include "thunderhead.podContext" "seccompProfile" }} &&
    object.spec.podTemplate.spec.securityContext.seccompProfile.type == 'Unconfined') &&
    !({{ include "thunderhead.podContext" "appArmorProfile" }} &&
    object.spec.podTemplate.spec.securityContext.appArmorProfile.type == 'Unconfined') &&
    !({{ include "thunderhead.podContext" "sysctls" }} && size(object.spec.podTemplate.spec.securityContext.sysctls) > 0) &&
    {{ include "thunderhead.everyContext" "!has(X.seLinuxOptions) || ((!has(X.seLinuxOptions.type) || X.seLinuxOptions.type in ['', 'container_t', 'container_init_t', 'container_kvm_t', 'container_engine_t']) && (!has(X.seLinuxOptions.user) || X.seLinuxOptions.user == '') && (!has(X.seLinuxOptions.role) || X.seLinuxOptions.role == ''))" }} &&
    variables.annotations.all(a, !(a.startsWith('container.apparmor.security.beta.kubernetes.io/') &&
    variables.annotations[a] == 'unconfined'))
- rule: serviceAccount
  why: a pod has the service account default without a token, or one that the site lists (policy.serviceAccounts)
  holds: >-
    variables.serviceAccount in [{{ range $i, $name := .Values.policy.serviceAccounts }}{{ if $i }}, {{ end }}'{{ $name }}'{{ end }}] ||
    (variables.serviceAccount == 'default' &&
    !(has(object.spec.podTemplate.spec) && has(object.spec.podTemplate.spec.automountServiceAccountToken) &&
    object.spec.podTemplate.spec.automountServiceAccountToken) &&
    variables.volumes.all(v, !has(v.projected) || !has(v.projected.sources) ||
    v.projected.sources.all(s, !has(s.serviceAccountToken) && !has(s.podCertificate))))
- rule: attemptKeys
  why: no pod reads the key by which the nodes of an attempt know each other
  holds: >-
    {{- $volumes := list "v.secret.secretName" "v.azureFile.secretName" "v.csi.nodePublishSecretRef.name" }}
    {{- range $kind := list "cephfs" "cinder" "flexVolume" "iscsi" "rbd" "scaleIO" "storageos" }}
    {{- $volumes = append $volumes (printf "v.%s.secretRef.name" $kind) }}
    {{- end }}
    {{- range $path := $volumes }}
    variables.volumes.all(v, {{ include "thunderhead.noKey" $path }}) &&
    {{- end }}
    variables.volumes.all(v, !has(v.projected) || !has(v.projected.sources) ||
    v.projected.sources.all(s, {{ include "thunderhead.noKey" "s.secret.name" }})) &&
    {{ include "thunderhead.every" (printf "!has(c.env) || c.env.all(e, %s)" (include "thunderhead.noKey" "e.valueFrom.secretKeyRef.name")) }} &&
    {{ include "thunderhead.every" (printf "!has(c.envFrom) || c.envFrom.all(f, %s)" (include "thunderhead.noKey" "f.secretRef.name")) }} &&
    (!has(object.spec.podTemplate.spec) || !has(object.spec.podTemplate.spec.imagePullSecrets) ||
    object.spec.podTemplate.spec.imagePullSecrets.all(i, {{ include "thunderhead.noKey" "i.name" }}))
- rule: reservedEnv
  why: THUNDERHEAD_* is what the operator tells the agent
  holds: >-
    {{ include "thunderhead.every" "(!has(c.env) || c.env.all(e, !e.name.startsWith('THUNDERHEAD_') || e.name == 'THUNDERHEAD_COMPAT')) && (!has(c.envFrom) || c.envFrom.all(f, !has(f.prefix) || f.prefix == '' || !('THUNDERHEAD_'.startsWith(f.prefix) || f.prefix.startsWith('THUNDERHEAD_'))))" }}
{{- end -}}

{{/* That the name at a path is not that of an attempt's key. */}}
{{- define "thunderhead.noKey" -}}
!({{ include "thunderhead.there" . }}{{ . }}.matches('-[0-9]+-[0-9a-f]{8}-key$'))
{{- end -}}

{{/* That each part of a path like v.csi.driver is there; ends with &&. */}}
{{- define "thunderhead.there" -}}
{{- $path := "" -}}
{{- range $index, $part := splitList "." . -}}
{{- $path = ternary $part (printf "%s.%s" $path $part) (eq $index 0) -}}
{{- if $index }}has({{ $path }}) && {{ end -}}
{{- end -}}
{{- end -}}

{{/* That something holds of every container c, init containers and sidecars alike. */}}
{{- define "thunderhead.every" -}}
variables.containers.all(c, {{ . }}) && variables.initContainers.all(c, {{ . }})
{{- end -}}

{{/* That something holds of every security context X, of containers and of the pod. */}}
{{- define "thunderhead.everyContext" -}}
{{ include "thunderhead.every" (printf "!has(c.securityContext) || (%s)" (replace "X." "c.securityContext." .)) }} && (!has(object.spec.podTemplate.spec) || !has(object.spec.podTemplate.spec.securityContext) || ({{ replace "X." "object.spec.podTemplate.spec.securityContext." . }}))
{{- end -}}

{{/* Whether the pod's security context has a field. */}}
{{- define "thunderhead.podContext" -}}
has(object.spec.podTemplate.spec) && has(object.spec.podTemplate.spec.securityContext) && has(object.spec.podTemplate.spec.securityContext.{{ . }})
{{- end -}}
