#!/usr/bin/env bash
# A test host beside the cluster: a network namespace of its own on the pod bridge.
#   test-host.sh up              make it (before or after up.sh); does nothing if it is there
#   test-host.sh run COMMAND …   run a command in it: a backend, a load generator
#   test-host.sh down            stop what runs in it, and remove it
# Run MongoDB, LocalStack, OpenSearch and all load in it. Bind them to 10.244.0.2: pods and this machine
# reach them there, and nothing else does.
set -euo pipefail
source "$(dirname "$0")/settings.sh"
[ "${1:-}" != "" ] && need_root

there() { ip netns list 2> /dev/null | grep -q "^$NETNS\b"; }

case ${1:-} in
  up)
    ip link show $BRIDGE > /dev/null 2>&1 || ip link add $BRIDGE type bridge
    ip address replace $HOST/24 dev $BRIDGE
    ip link set $BRIDGE up
    there || ip netns add $NETNS
    ip link show oth0 > /dev/null 2>&1 || ip link add oth0 type veth peer name eth0 netns $NETNS
    ip link set oth0 master $BRIDGE up
    ip -n $NETNS address replace $TEST_HOST/24 dev eth0
    ip -n $NETNS link set eth0 up
    ip -n $NETNS link set lo up
    ip -n $NETNS route replace default via $HOST
    echo "test host: $TEST_HOST"
    ;;
  run)
    shift
    there || fail "there is no test host: run test-host.sh up"
    exec ip netns exec $NETNS "$@"
    ;;
  down)
    if there; then
      for pid in $(ip netns pids $NETNS); do kill "$pid" 2> /dev/null || true; done
      for _ in $(seq 1 150); do [ -n "$(ip netns pids $NETNS)" ] || break; sleep 0.2; done
      for pid in $(ip netns pids $NETNS); do kill -KILL "$pid" 2> /dev/null || true; done
      ip netns delete $NETNS
    fi
    ip link delete oth0 2> /dev/null || true
    # The bridge belongs to the cluster as long as that has pods or servers.
    if [ ! -e "$STATE/pids" ] && [ -z "$(ip -o link show master $BRIDGE 2> /dev/null)" ]; then
      ip link delete $BRIDGE 2> /dev/null || true
    fi
    ;;
  *)
    sed -n '2,7s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
