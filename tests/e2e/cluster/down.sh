#!/usr/bin/env bash
# Removes everything that up.sh made, also after an up.sh that failed: processes, pods, network, kernel
# settings and state. It keeps the built programs, the test host, and Debian packages. May run twice.
set -uo pipefail
source "$(dirname "$0")/settings.sh"
need_root

stop() { # stop NAME...: by the process id that up.sh wrote down
  local name pid
  for name in "$@"; do
    for pid in $(awk -v name="$name" '$2 == name { print $1 }' "$STATE/pids" 2> /dev/null); do
      stop_process "$pid" "$name" 10
    done
  done
}

stop kubelet kube-proxy
if [ -S "$SOCKET" ]; then
  for task in $(timeout 20 "${ctr[@]}" tasks list -q); do timeout 20 "${ctr[@]}" tasks kill -s KILL "$task"; done
  sleep 1
  for container in $(timeout 20 "${ctr[@]}" containers list -q); do
    timeout 20 "${ctr[@]}" tasks delete -f "$container"
    timeout 20 "${ctr[@]}" containers delete "$container"
  done
fi > /dev/null 2>&1
stop containerd kube-scheduler kube-controller-manager kube-apiserver etcd
for proc in /proc/[0-9]*; do # shims outlive containerd; ours have our socket in their command line
  if tr '\0' ' ' < "$proc/cmdline" | grep -q "containerd-shim.* -address $RUN/"; then
    stop_process "${proc#/proc/}" "-address $RUN/" 5
  fi
done 2> /dev/null

# kube-proxy removes its own rules; those of kubelet and of the bridge plugin are left.
command -v kube-proxy > /dev/null && kube-proxy --cleanup > /dev/null 2>&1
if command -v iptables-save > /dev/null; then
  iptables-save -t nat | sed -n 's/^-A \(POSTROUTING .*-j CNI-.*\)/iptables -t nat -D \1/p' | sh
  for table in filter mangle nat; do
    iptables-save -t $table | sed -n "s/^-A \(.*-j KUBE-.*\)/iptables -t $table -D \1/p" | sh
    for step in -F -X; do
      iptables-save -t $table | sed -n "s/^:\(\(KUBE\|CNI\)-[A-Za-z0-9-]*\) .*/iptables -t $table $step \1/p" | sh
    done
  done
fi > /dev/null 2>&1

awk -v state="$STATE/" -v run="$RUN/" '
  index($2, state) == 1 || index($2, run) == 1 || $2 ~ "^(/var)?/run/netns/cni-" { print $2 }' /proc/mounts |
  sort -r | while read -r mount; do umount -l "$mount"; done
for name in /run/netns/cni-*; do [ -e "$name" ] && rm -f "$name"; done
find /sys/fs/cgroup -depth -type d -path '*kubepods*' -exec rmdir {} + 2> /dev/null
# The kernel removes a pod's network namespace, and its interface with it, later than the name.
ip -o link show master $BRIDGE 2> /dev/null | sed -n 's/^[0-9]*: \(veth[^@:]*\).*/\1/p' |
  while read -r interface; do ip link delete "$interface" 2> /dev/null; done
if ! ip netns list 2> /dev/null | grep -q "^$NETNS\b"; then ip link delete $BRIDGE 2> /dev/null; fi
while read -r setting; do sysctl -qw "$setting"; done < <(cat "$STATE/sysctl" 2> /dev/null)
if [ -e "$STATE" ] && [ ! -e "$STATE/made-by-up" ]; then
  fail "$STATE was not made by up.sh, so it stays"
fi
rm -rf "$STATE" "$RUN"
echo "down"
