#!/usr/bin/env bash
# load-image.sh NAME:TAG...: gives the cluster's node images that buildah (storage driver vfs) has built.
set -euo pipefail
source "$(dirname "$0")/settings.sh"
need_root
[ -S "$SOCKET" ] || fail "no cluster is up: run up.sh"
layout=$(mktemp -d "$STATE/images/XXXXXX")
trap 'rm -rf "$layout"' EXIT
# One layout for all images: a layer that several have is written and read once.
for image in "$@"; do "${buildah[@]}" push -q --disable-compression "$image" "oci:$layout:$image"; done
tar -C "$layout" -c . | "${ctr[@]}" images import --snapshotter "$SNAPSHOTTER" - > /dev/null
