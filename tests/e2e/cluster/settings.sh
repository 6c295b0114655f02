# Read by the other scripts: where things are. A user may set CLUSTER_CACHE and CLUSTER_DIR.
# shellcheck shell=bash disable=SC2034
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CACHE=${CLUSTER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ocelot-cluster}
STATE=$(realpath -m "${CLUSTER_DIR:-$HERE/../../../.cluster}")
SNAPSHOTTER=${CLUSTER_SNAPSHOTTER:-overlayfs}

# The same in every run: one cluster per machine.
BRIDGE=cni0
CNI_NETWORK=ocelot-pods
HOST=10.244.0.1       # this machine on the pod bridge
TEST_HOST=10.244.0.2  # the test host
PODS=10.244.0.0/24
SERVICES=10.96.0.0/16
RUN=/run/ocelot-containerd
SOCKET=$RUN/containerd.sock
NETNS=ocelot-test-host

export PATH=$CACHE/bin:$PATH:/usr/sbin:/sbin
buildah=(buildah --storage-driver vfs)
ctr=(ctr --address "$SOCKET" --namespace k8s.io)

fail() {
  echo "$(basename "$0"): $*" >&2
  exit 1
}

# install_packages PROGRAM...: the Debian packages of these names, for programs that are missing.
install_packages() {
  local program missing=()
  for program in "$@"; do command -v "$program" > /dev/null || missing+=("$program"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get > /dev/null || fail "these programs are missing: ${missing[*]}. Install them."
  echo "installing the Debian packages ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" > /dev/null
}

need_root() { [ "$(id -u)" = 0 ] || fail "run this as root: it makes network interfaces and containers"; }

# stop_process PID WORD SECONDS: SIGTERM, then SIGKILL, if this process still has WORD in its command line.
# The number alone may belong to another process by now.
stop_process() {
  local deadline=$((SECONDS + $3)) signal=TERM
  while tr '\0' ' ' < "/proc/$1/cmdline" 2> /dev/null | grep -qF -- "$2"; do
    kill -$signal "$1" 2> /dev/null || return 0
    kill -CONT "$1" 2> /dev/null || true # a stopped process would never see the signal
    [ "$SECONDS" -lt "$deadline" ] || signal=KILL
    sleep 0.2
  done
}
