{{/* Cluster-wide objects have fixed names: one install a cluster. */}}
{{- define "export-operator.name" -}}export-operator{{- end -}}

{{- define "export-operator.selector" -}}
app.kubernetes.io/name: export-operator
app.kubernetes.io/component: operator
{{- end -}}

{{- define "export-operator.labels" -}}
app.kubernetes.io/name: export-operator
app.kubernetes.io/part-of: export-operator
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/instance: {{ .Release.Name }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* An image reference from {repository, tag, digest} and the chart's appVersion. */}}
{{- define "export-operator.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .version }}
{{- end -}}
{{- end -}}

{{/* A file that manifests/ has as well, with this release's service account and identity.mode in place of the defaults. */}}
{{- define "export-operator.file" -}}
{{- $account := printf "system:serviceaccount:%s:export-operator" .root.Release.Namespace -}}
{{- $mode := printf `expression: "'%s'"` .root.Values.identity.mode -}}
{{ .root.Files.Get .path | replace "system:serviceaccount:export-operator:export-operator" $account | replace `expression: "'Attested'"` $mode }}
{{- end -}}

{{/* Refuses what cannot work, before anything is changed. */}}
{{- define "export-operator.check" -}}
{{- if eq .Values.runNamespace.name .Release.Namespace -}}
{{- fail (printf "runNamespace.name must not be the release's namespace %q: export pods and their credentials live apart from the operator. Leave it at export-runs, or name another namespace." .Release.Namespace) -}}
{{- end -}}
{{- if and (eq .Values.identity.mode "Attested") (semverCompare "<1.36.0-0" .Capabilities.KubeVersion.Version) -}}
{{- fail (printf "identity.mode Attested needs Kubernetes 1.36 or newer for MutatingAdmissionPolicy, and this cluster is %s. Use --set identity.mode=Declared: clients then write spec.requester.username themselves (kubectl auth whoami shows it), a policy checks it, and ExportPolicies that select groups match nobody. Where there is no cluster to ask, as in helm template, --kube-version tells." .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- $other := lookup "rbac.authorization.k8s.io/v1" "ClusterRole" "" "export-operator" -}}
{{- if $other -}}
{{- $annotations := $other.metadata.annotations | default dict -}}
{{- $release := index $annotations "meta.helm.sh/release-name" | default "" -}}
{{- $namespace := index $annotations "meta.helm.sh/release-namespace" | default "" -}}
{{- if and $release (or (ne $release .Release.Name) (ne $namespace .Release.Namespace)) -}}
{{- fail (printf "export-operator is already installed in this cluster, by release %q in namespace %q; there can be one install a cluster. Upgrade that one (helm upgrade %s -n %s ...), or uninstall it first; its requests, resources and ledger are kept." $release $namespace $release $namespace) -}}
{{- end -}}
{{- end -}}
{{- end -}}
