#!/usr/bin/env bash
# Removes everything that up.sh made, also after an up.sh that failed or was interrupted: processes, pods,
# network, kernel settings and state. It keeps the built programs, the test host, and Debian packages. May run
# twice.
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
for program in iptables ip6tables; do
  command -v $program-save > /dev/null || continue
  $program-save -t nat | sed -n "s/^-A \(POSTROUTING .*-j CNI-.*\)/$program -t nat -D \1/p" | sh
  for table in filter mangle nat; do
    $program-save -t $table | sed -n "s/^-A \(.*-j KUBE-.*\)/$program -t $table -D \1/p" | sh
    for step in -F -X; do
      $program-save -t $table | sed -n "s/^:\(\(KUBE\|CNI\)-[A-Za-z0-9-]*\) .*/$program -t $table $step \1/p" | sh
    done
  done
done > /dev/null 2>&1

awk -v state="$STATE/" -v run="$RUN/" '
  index($2, state) == 1 || index($2, run) == 1 || $2 ~ "^(/var)?/run/netns/cni-" { print $2 }' /proc/mounts |
  sort -r | while read -r mount; do umount -l "$mount"; done
ip netns delete ocelot-first 2> /dev/null
for name in /run/netns/cni-*; do [ -e "$name" ] && rm -f "$name"; done
find /sys/fs/cgroup -depth -type d -path '*kubepods*' -exec rmdir {} + 2> /dev/null
# The kernel removes a pod's network namespace, and its interface with it, later than the name.
ip -o link show master $BRIDGE 2> /dev/null | sed -n 's/^[0-9]*: \(veth[^@:]*\).*/\1/p' |
  while read -r interface; do ip link delete "$interface" 2> /dev/null; done
if ! ip netns list 2> /dev/null | grep -q "^$NETNS\b"; then ip link delete $BRIDGE 2> /dev/null; fi
while read -r setting; do sysctl -qw "$setting"; done < <(cat "$STATE/sysctl" 2> /dev/null)

# Kubelet, containerd and the CNI plugins write here, whatever their settings say.
for file in /var/lib/cni/results/"$CNI_NETWORK"-*-eth0; do
  id=${file##*/"$CNI_NETWORK"-} # of the pod; its loopback interface has a file of its own
  rm -f "$file" "/var/lib/cni/results/cni-loopback-${id%-eth0}-lo"
done
if [ -d /var/log/containers ]; then find /var/log/containers -lname "$STATE/*" -delete; fi
if [ -e "$STATE/pids" ]; then rm -f /var/lib/kubelet/device-plugins/kubelet.sock; fi
if grep -qx /run/netns "$STATE/folders" 2> /dev/null && [ -z "$(ls /run/netns)" ]; then umount /run/netns; fi 2> /dev/null
if [ -e "$STATE/folders" ]; then tac "$STATE/folders" | xargs -r rmdir; fi 2> /dev/null

if [ -e "$STATE" ] && [ ! -e "$STATE/made-by-up" ]; then
  fail "$STATE was not made by up.sh, so it stays"
fi
rm -rf "$STATE" "$RUN"
echo "down"
