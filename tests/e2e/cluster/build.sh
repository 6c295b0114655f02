#!/usr/bin/env bash
# Builds what a single-node Kubernetes cluster needs from Go modules, once, into $CLUSTER_CACHE/bin.
# Needs Go 1.26 or later. The first time it takes 15 minutes on two quiet cores, later a second.
set -euo pipefail

source "$(dirname "$0")/settings.sh"
KUBERNETES=1.36.4
export GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS=-mod=mod
command -v go > /dev/null || fail "Go is not on the path. Install Go 1.26 or later."
mkdir -p "$CACHE/bin"
exec 9> "$CACHE/lock"
flock 9 # two checkouts share the cache

# build NAME MODULE@VERSION PACKAGE...: a wrapper module, because these modules' own replace
# directives forbid `go install PACKAGE@VERSION`. Extra go.mod lines come from standard input.
build() {
  local dir=$CACHE/src/$1 module=${2%@*} version=${2#*@} missing='' package
  shift 2
  for package in "$@"; do [ -x "$CACHE/bin/$(basename "$package")" ] || missing=1; done
  if [ -z "$missing" ]; then return; fi
  mkdir -p "$dir"
  { printf 'module wrapper\n\ngo 1.26.0\n\nrequire %s %s\n' "$module" "$version"; cat; } > "$dir/go.mod"
  { printf '//go:build tools\n\npackage tools\n\n'; printf 'import _ "%s"\n' "$@"; } > "$dir/tools.go"
  (
    cd "$dir"
    go mod tidy
    for package in "$@"; do
      echo "building $(basename "$package")"
      go build -trimpath -ldflags "-s -w ${LDFLAGS:-}" -o "$CACHE/bin/$(basename "$package")" "$package"
    done
  )
}

staging='api apiextensions-apiserver apimachinery apiserver cli-runtime client-go cloud-provider
cluster-bootstrap code-generator component-base component-helpers controller-manager cri-api cri-client
cri-streaming csi-translation-lib dynamic-resource-allocation endpointslice externaljwt kms kube-aggregator
kube-controller-manager kube-proxy kube-scheduler kubectl kubelet metrics mount-utils pod-security-admission
sample-apiserver sample-cli-plugin sample-controller streaming'
version=k8s.io/component-base/version
for module in $staging; do echo "replace k8s.io/$module => k8s.io/$module v0.${KUBERNETES#1.}"; done |
  LDFLAGS="-X $version.gitVersion=v$KUBERNETES -X $version.gitMajor=1 -X $version.gitMinor=${KUBERNETES:2:2}" \
    build kubernetes "k8s.io/kubernetes@v$KUBERNETES" \
    k8s.io/kubernetes/cmd/{kube-apiserver,kube-controller-manager,kube-scheduler,kubelet,kube-proxy,kubectl}

build etcd go.etcd.io/etcd/server/v3@v3.6.14 go.etcd.io/etcd/server/v3 < /dev/null
ln -sf v3 "$CACHE/bin/etcd"
build containerd github.com/containerd/containerd/v2@v2.2.0 \
  github.com/containerd/containerd/v2/cmd/{containerd,containerd-shim-runc-v2,ctr} < /dev/null
plugins=github.com/containernetworking/plugins
build cni $plugins@v1.9.0 $plugins/plugins/main/{bridge,loopback} $plugins/plugins/ipam/host-local \
  $plugins/plugins/meta/portmap < /dev/null
build coredns github.com/coredns/coredns@v1.12.4 github.com/coredns/coredns < /dev/null

# KEDA pins some of its dependencies with replace directives, which a wrapper has to repeat.
if [ "${CLUSTER_KEDA:-yes}" != no ]; then
  keda=github.com/kedacore/keda/v2
  keda_dir=$(cat "$CACHE/keda-module-dir" 2> /dev/null || true)
  if [ ! -d "$keda_dir" ]; then
    answer=$(cd "$CACHE" && go mod download -json $keda@v2.20.2) || { echo "$answer" >&2; exit 1; }
    keda_dir=$(sed -n 's/.*"Dir": "\(.*\)".*/\1/p' <<< "$answer")
  fi
  awk '/^replace \(/ { open = 1 } open { print } /^\)/ { open = 0 }' "$keda_dir/go.mod" |
    build keda $keda@v2.20.2 $keda/cmd/operator $keda/cmd/adapter
  echo "$keda_dir" > "$CACHE/keda-module-dir"
fi

mkdir -p "$CACHE/src/pause"
cat > "$CACHE/src/pause/main.go" <<'GO'
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	<-stop
}
GO
[ -x "$CACHE/bin/pause" ] || go build -ldflags '-s -w' -o "$CACHE/bin/pause" "$CACHE/src/pause/main.go"
echo "binaries are in $CACHE/bin"
