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

{{/* A file that manifests/ has as well, with this release's service account in place of the default install's. */}}
{{- define "export-operator.file" -}}
{{- $account := printf "system:serviceaccount:%s:export-operator" .root.Release.Namespace -}}
{{ .root.Files.Get .path | replace "system:serviceaccount:export-operator:export-operator" $account }}
{{- end -}}

{{/* Refuses what cannot work, before anything is changed. */}}
{{- define "export-operator.check" -}}
{{- if eq .Values.runNamespace.name .Release.Namespace -}}
{{- fail (printf "runNamespace.name must not be the release's namespace %q: export pods and their credentials live apart from the operator. Leave it at export-runs, or name another namespace." .Release.Namespace) -}}
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
