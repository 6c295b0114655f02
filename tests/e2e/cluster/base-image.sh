#!/usr/bin/env bash
# Makes localhost/python-base:bookworm (Debian 12, Python 3.11, uv), once, for a machine that cannot pull
# images. Run as root. The image trusts the certificate authorities of this machine.
set -euo pipefail
source "$(dirname "$0")/settings.sh"
need_root
name=localhost/python-base:bookworm
install_packages buildah
if "${buildah[@]}" inspect --type image $name > /dev/null 2>&1; then exit; fi
install_packages debootstrap
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mirror=$({ cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2> /dev/null || true; } |
  sed -n 's/^deb \(\[[^]]*\] \)\?\([^ ]*\) bookworm main.*/\2/p; s/^URIs: \([^ ]*\)$/\1/p' | sed -n 1p)
echo "making $name"
debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$root" ${mirror:+"$mirror"} > /dev/null
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
python3 -m pip install --quiet --no-deps --target "$root/tmp/uv" uv
cp "$root"/tmp/uv/bin/uv "$root/usr/local/bin/uv"
rm -rf "$root/tmp/uv" "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
container=$("${buildah[@]}" from scratch)
"${buildah[@]}" copy -q "$container" "$root" / > /dev/null
"${buildah[@]}" config --env SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt --env UV_PYTHON_DOWNLOADS=never \
  --env UV_SYSTEM_CERTS=true --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  --cmd python3 "$container"
"${buildah[@]}" commit -q "$container" $name > /dev/null
"${buildah[@]}" rm "$container" > /dev/null
