#!/usr/bin/env bash
# scratch-image.sh NAME TAG BINARY PATH: makes the image localhost/NAME:TAG with one static program, and
# gives it to the cluster's node.
set -euo pipefail
source "$(dirname "$0")/settings.sh"
image=localhost/$1:$2
container=$("${buildah[@]}" from scratch)
trap '"${buildah[@]}" rm "$container" > /dev/null 2>&1 || true; "${buildah[@]}" rmi "$image" > /dev/null 2>&1 || true' EXIT
"${buildah[@]}" copy -q "$container" "$3" "$4" > /dev/null
if [ -e /etc/ssl/certs/ca-certificates.crt ]; then
  "${buildah[@]}" copy -q "$container" /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ > /dev/null
fi
"${buildah[@]}" config --entrypoint "[\"$4\"]" "$container"
"${buildah[@]}" commit -q --rm "$container" "$image" > /dev/null
"$HERE/load-image.sh" "$image"
