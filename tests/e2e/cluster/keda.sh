#!/usr/bin/env bash
# Installs KEDA (operator and metrics server, without admission webhooks) into the cluster of up.sh.
set -euo pipefail
source "$(dirname "$0")/settings.sh"
export KUBECONFIG=$STATE/kubeconfig
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$HERE/scratch-image.sh" keda 1 "$CACHE/bin/operator" /keda
"$HERE/scratch-image.sh" keda-metrics-apiserver 1 "$CACHE/bin/adapter" /keda-adapter

cp -r "$(cat "$CACHE/keda-module-dir")/config" "$work/config"
chmod -R u+w "$work"
cat > "$work/kustomization.yaml" <<'YAML'
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [config/minimal]
images:
- {name: ghcr.io/kedacore/keda, newName: localhost/keda, newTag: "1"}
- {name: ghcr.io/kedacore/keda-metrics-apiserver, newName: localhost/keda-metrics-apiserver, newTag: "1"}
patches:
- target: {kind: Deployment}
  patch: |
    - {op: add, path: /spec/template/spec/securityContext/runAsUser, value: 1000}
    - {op: replace, path: /spec/template/spec/containers/0/imagePullPolicy, value: Never}
    - {op: replace, path: /spec/template/spec/containers/0/readinessProbe/initialDelaySeconds, value: 2}
YAML
kubectl kustomize "$work" > "$work/keda.yaml"
kubectl apply --server-side -f "$work/keda.yaml" > /dev/null
kubectl -n keda rollout status deployment/keda-operator --timeout=300s
kubectl -n keda rollout status deployment/keda-metrics-apiserver --timeout=300s
kubectl wait apiservice/v1beta1.external.metrics.k8s.io --for=condition=Available --timeout=120s
