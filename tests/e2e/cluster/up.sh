#!/usr/bin/env bash
# Brings up a real single-node Kubernetes cluster with KEDA on a Debian machine without Docker.
# Run as root, from any directory. `down.sh` removes everything again. README.md describes the variables.
#
# Images cannot be pulled: build your own with buildah and load them with `load-image.sh NAME:TAG`.
# Servers listen on the pod bridge (10.244.0.1) or on loopback only. Run backends and load on the test
# host: test-host.sh, 10.244.0.2.
set -Eeuo pipefail
source "$(dirname "$0")/settings.sh"
need_root
[ ! -e "$STATE" ] || fail "there is a cluster, or what is left of one, in $STATE. Run down.sh first."
[ ! -e "$RUN" ] || fail "another cluster of these scripts is up on this machine ($RUN). Run its down.sh first."
install_packages runc buildah iptables conntrack
"$HERE/build.sh"

mkdir -p "$STATE"/{pki,logs,cni/conf,cni/bin,containerd,kubelet,images}
touch "$STATE/made-by-up"
cd "$STATE"
for folder in /run/netns /var/log/containers /var/lib/kubelet{,/device-plugins} /var/lib/cni{,/results} \
  /run/containerd{,/s,/runc,/runc/k8s.io}; do # down.sh removes those that are new and then empty
  [ -e "$folder" ] || echo "$folder" >> folders
done
trap 'echo "up.sh failed. The logs are in $STATE/logs. down.sh removes what was made." >&2' ERR
trap 'echo "up.sh was interrupted. down.sh removes what was made." >&2; exit 130' INT TERM
ln -sf "$CACHE"/bin/{bridge,loopback,host-local,portmap} cni/bin/

start() { # start NAME COMMAND...
  local name=$1
  shift
  # The process writes down its own id, so that down.sh finds it wherever up.sh is interrupted.
  setsid nohup bash -c 'echo "$$ $0" >> pids; exec "$@"' "$name" "$@" > "logs/$name.log" 2>&1 < /dev/null &
}

wait_for() { # wait_for WHAT COMMAND...
  local what=$1 deadline=$((SECONDS + 180))
  shift
  until "$@" > /dev/null 2>&1; do
    if [ $SECONDS -gt $deadline ]; then
      echo "$what did not answer within 180 s" >&2
      return 1
    fi
    sleep 0.4
  done
}

# --- kernel: down.sh restores what was set before ------------------------------------------------------
keep_kernel() { # keep_kernel NAME...: write down the present values
  local name value
  for name in "$@"; do
    if value=$(sysctl -n "$name" 2> /dev/null); then echo "$name=$value" >> sysctl; fi
  done
}
modprobe br_netfilter 2> /dev/null || true
keep_kernel net.ipv4.ip_forward net.bridge.bridge-nf-call-iptables
keep_kernel net.ipv4.conf.all.route_localnet # kube-proxy changes it, and the kubelet the others:
keep_kernel kernel.panic kernel.panic_on_oops vm.overcommit_memory vm.panic_on_oom \
  kernel.keys.root_maxkeys kernel.keys.root_maxbytes
sysctl -qw net.ipv4.ip_forward=1
sysctl -qw net.bridge.bridge-nf-call-iptables=1 2> /dev/null || true

# --- network: the bridge that pods and servers share -------------------------------------------------
# The first `ip netns add` mounts /run/netns on itself. If that came after the first pod, as by
# test-host.sh, it would hide the mounts of the pods' namespaces, and down.sh could not remove them.
ip netns add ocelot-first && ip netns delete ocelot-first
ip link show $BRIDGE > /dev/null 2>&1 || ip link add $BRIDGE type bridge
ip address replace $HOST/24 dev $BRIDGE
ip link set $BRIDGE up
cat > cni/conf/10-bridge.conflist <<EOF
{"cniVersion": "1.0.0", "name": "$CNI_NETWORK", "plugins": [
  {"type": "bridge", "bridge": "$BRIDGE", "isGateway": true, "ipMasq": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "$PODS", "rangeStart": "10.244.0.10"}]],
            "routes": [{"dst": "0.0.0.0/0"}], "dataDir": "$STATE/cni/ipam"}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
EOF

# --- certificates -----------------------------------------------------------------------------------
openssl req -x509 -newkey rsa:2048 -nodes -keyout pki/ca.key -out pki/ca.crt -subj /CN=cluster-ca -days 30 2> /dev/null
openssl genrsa -out pki/sa.key 2048 2> /dev/null
openssl rsa -in pki/sa.key -pubout -out pki/sa.pub 2> /dev/null
certificate() { # certificate NAME SUBJECT [SAN]
  openssl req -newkey rsa:2048 -nodes -keyout "pki/$1.key" -out "pki/$1.csr" -subj "$2" 2> /dev/null
  openssl x509 -req -in "pki/$1.csr" -CA pki/ca.crt -CAkey pki/ca.key -CAcreateserial -days 30 \
    -out "pki/$1.crt" -extfile <(echo "subjectAltName=${3:-DNS:$1}") 2> /dev/null
}
certificate apiserver /CN=kube-apiserver "IP:$HOST,IP:10.96.0.1,IP:127.0.0.1,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
certificate admin /O=system:masters/CN=admin
certificate aggregator /CN=aggregator
cat > kubeconfig <<EOF
apiVersion: v1
kind: Config
clusters: [{name: local, cluster: {server: "https://$HOST:6443", certificate-authority: "$STATE/pki/ca.crt"}}]
users: [{name: admin, user: {client-certificate: "$STATE/pki/admin.crt", client-key: "$STATE/pki/admin.key"}}]
contexts: [{name: local, context: {cluster: local, user: admin}}]
current-context: local
EOF
export KUBECONFIG=$STATE/kubeconfig

# --- control plane ----------------------------------------------------------------------------------
start etcd etcd --data-dir etcd --unsafe-no-fsync --listen-client-urls http://$HOST:2379 \
  --advertise-client-urls http://$HOST:2379 --listen-peer-urls http://127.0.0.1:2380 --log-level warn
start kube-apiserver kube-apiserver --etcd-servers http://$HOST:2379 --bind-address $HOST --advertise-address $HOST \
  --secure-port 6443 --tls-cert-file pki/apiserver.crt --tls-private-key-file pki/apiserver.key \
  --client-ca-file pki/ca.crt --service-cluster-ip-range $SERVICES --authorization-mode RBAC --allow-privileged \
  --service-account-issuer https://kubernetes.default.svc --service-account-key-file pki/sa.pub \
  --service-account-signing-key-file pki/sa.key --kubelet-client-certificate pki/admin.crt \
  --kubelet-preferred-address-types InternalIP \
  --kubelet-client-key pki/admin.key --requestheader-client-ca-file pki/ca.crt \
  --requestheader-allowed-names aggregator --requestheader-username-headers X-Remote-User \
  --requestheader-group-headers X-Remote-Group --requestheader-extra-headers-prefix X-Remote-Extra- \
  --proxy-client-cert-file pki/aggregator.crt --proxy-client-key-file pki/aggregator.key
wait_for kube-apiserver kubectl get --raw /readyz
start kube-controller-manager kube-controller-manager --kubeconfig kubeconfig --root-ca-file pki/ca.crt \
  --service-account-private-key-file pki/sa.key --leader-elect=false --bind-address 127.0.0.1 \
  --cluster-signing-cert-file pki/ca.crt --cluster-signing-key-file pki/ca.key
start kube-scheduler kube-scheduler --kubeconfig kubeconfig --leader-elect=false --bind-address 127.0.0.1

# --- node -------------------------------------------------------------------------------------------
cat > containerd/config.toml <<EOF
version = 3
root = "$STATE/containerd/root"
state = "$RUN"
[grpc]
  address = "$SOCKET"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "$SNAPSHOTTER"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "localhost/pause:1"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  disable_apparmor = true
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["$STATE/cni/bin"]
  conf_dir = "$STATE/cni/conf"
EOF
start containerd containerd --config containerd/config.toml
wait_for containerd "${ctr[@]}" version

"$HERE/scratch-image.sh" pause 1 "$CACHE/bin/pause" /pause
"$HERE/scratch-image.sh" coredns 1 "$CACHE/bin/coredns" /coredns

cat > kubelet/config.yaml <<EOF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $HOST
failCgroupV1: false
failSwapOn: false
cgroupDriver: cgroupfs
oomScoreAdj: 0
containerRuntimeEndpoint: unix://$SOCKET
podLogsDir: $STATE/pod-logs
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
authentication: {x509: {clientCAFile: "$STATE/pki/ca.crt"}, anonymous: {enabled: false}}
authorization: {mode: AlwaysAllow}
healthzBindAddress: 127.0.0.1
enforceNodeAllocatable: []
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}
localStorageCapacityIsolation: false
serverTLSBootstrap: false
EOF
start kubelet kubelet --config kubelet/config.yaml --kubeconfig kubeconfig --root-dir "$STATE/kubelet/root" \
  --cert-dir "$STATE/kubelet/pki" \
  --hostname-override node --node-ip $HOST
start kube-proxy kube-proxy --kubeconfig kubeconfig --hostname-override node --proxy-mode iptables \
  --cluster-cidr $PODS --bind-address $HOST --healthz-bind-address 127.0.0.1:10256 \
  --metrics-bind-address 127.0.0.1:10249 --conntrack-max-per-core 0 \
  --conntrack-tcp-timeout-established 0 --conntrack-tcp-timeout-close-wait 0
wait_for node kubectl get node node
kubectl apply -f "$HERE/coredns.yaml" > /dev/null
kubectl wait node/node --for=condition=Ready --timeout=90s
kubectl -n kube-system rollout status deployment/coredns --timeout=120s

[ "${CLUSTER_KEDA:-yes}" = no ] || "$HERE/keda.sh"
echo "up: export KUBECONFIG=$KUBECONFIG"
