# The cluster's two namespaces.
#
# Network: pods, CNI bridge and kube-proxy live in a network namespace of their own, since the names
# of kube-proxy's iptables chains are fixed and two clusters in one namespace would overwrite each
# other. A veth pair joins it to the machine; the control plane and the kubelet stay outside, so that
# the API server is an ordinary process of the machine.
#
#   machine: lo node_ip · veth host_ip ── veth netns_ip · bridge cni0 ── pods
#
# Mount: containerd and the kubelet share a private mount namespace. Paths that they do not let us
# choose are bound to the cluster's folder in it, and whatever they mount is gone with the last
# process in it.

netns=/run/netns/$id
private_paths=(/var/lib/kubelet /var/lib/cni /run/containerd /var/log/containers)

in_netns() { nsenter --net="$netns" "$@"; }
mounts_file() { echo "/proc/$(cut -d' ' -f1 "$run_dir/mounts.pid")/ns/mnt"; }

# One rule per line: table, chain, match and target.
host_rules() {
    local tag="-m comment --comment $id" ports="$node_port_first:$node_port_last" protocol
    for protocol in tcp udp; do
        # Node ports on every address of the machine, 127.0.0.1 included, lead into the namespace …
        echo "nat OUTPUT -p $protocol -m addrtype --dst-type LOCAL -m $protocol --dport $ports $tag -j DNAT --to-destination $netns_ip"
        echo "nat PREROUTING -i $id -d $node_ip/32 -p $protocol -m $protocol --dport $ports $tag -j DNAT --to-destination $netns_ip"
    done
    # … with a source address that answers can come back to, also for pods that call the node's address.
    echo "nat POSTROUTING -s 127.0.0.0/8 -o $id $tag -j MASQUERADE"
    echo "nat POSTROUTING -s $netns_ip/32 -o $id $tag -j MASQUERADE"
    # Pods reach what the machine reaches (a model provider in the internet, for example).
    echo "nat POSTROUTING -s $block.0.0/16 ! -o $id $tag -j MASQUERADE"
    echo "filter FORWARD -i $id $tag -j ACCEPT"
    echo "filter FORWARD -o $id $tag -j ACCEPT"
}

network_up() {
    [[ $(sysctl -n net.ipv4.ip_forward) == 1 ]] || sysctl -qw net.ipv4.ip_forward=1
    # Every file watcher in every pod takes an inotify instance; 128, a common default, is few.
    (($(sysctl -n fs.inotify.max_user_instances) >= 1024)) || sysctl -qw fs.inotify.max_user_instances=1024

    ip addr replace "$node_ip/32" dev lo
    [[ -e $netns ]] || ip netns add "$id"
    if ! ip link show "$id" &>/dev/null; then
        # The machine's own packet size, or large packets of pods would be lost on the way out.
        local mtu
        mtu=$(ip route get 8.8.8.8 2>/dev/null | grep -oP 'dev \K\S+' | head -1)
        mtu=$(cat "/sys/class/net/${mtu:-lo}/mtu")
        ip link add "$id" mtu "$((mtu > 1500 ? 1500 : mtu))" type veth \
            peer name uplink mtu "$((mtu > 1500 ? 1500 : mtu))" netns "$id"
    fi
    ip addr replace "$host_ip/30" dev "$id"
    ip link set "$id" up
    # Answers from a node port come back for 127.0.0.1.
    sysctl -qw "net.ipv4.conf.$id.route_localnet=1"
    in_netns ip link set lo up
    in_netns ip addr replace "$netns_ip/30" dev uplink
    in_netns ip link set uplink up
    in_netns ip route replace default via "$host_ip"
    in_netns sysctl -qw net.ipv4.ip_forward=1
    # Probes of the kubelet, and tests, reach pods and Services from the machine.
    ip route replace "$block.0.0/16" via "$netns_ip" dev "$id"

    local table rule
    while read -r table rule; do
        iptables -w -t "$table" -C $rule 2>/dev/null || iptables -w -t "$table" -I $rule
    done < <(host_rules)
}

network_down() {
    local table rule
    while read -r table rule; do
        while iptables -w -t "$table" -D $rule 2>/dev/null; do :; done
    done < <(host_rules)
    ip link del "$id" 2>/dev/null || true   # takes its routes along
    ip netns del "$id" 2>/dev/null || true
    ip addr del "$node_ip/32" dev lo 2>/dev/null || true
}

network_exists() { [[ -e $netns ]] && ip link show "$id" &>/dev/null; }

# The private mount namespace is held by a process that does nothing.
mounts_up() {
    alive mounts && return
    rm -f "$run_dir/mounts.ready"
    local target
    for target in "${private_paths[@]}"; do
        [[ -d $target ]] || { mkdir -p "$target" && echo "$target" >>"$cluster/made-folders"; }
        mkdir -p "$cluster/private$target"
    done
    start_daemon mounts unshare --mount --propagation private -- bash -c '
        set -euo pipefail
        cluster=$1; shift
        for target; do mount --bind "$cluster/private$target" "$target"; done
        mount --make-rshared /   # volumes with mount propagation ask for it
        touch "$cluster/run/mounts.ready"
        exec sleep infinity' mounts "$cluster" "${private_paths[@]}"
    wait_for 10 "private mount namespace" mounts test -e "$run_dir/mounts.ready"
}

# Pods are placed under a cgroup of the cluster's own; kubelets end what they do not know in theirs.
cgroup_parents() {
    if [[ $(stat -fc %T /sys/fs/cgroup) == cgroup2fs ]]; then echo /sys/fs/cgroup; return; fi
    awk '$3 ~ /^cgroup2?$/ { print $2 }' /proc/mounts | sort -u
}

cgroups_up() {
    local parent
    [[ $(stat -fc %T /sys/fs/cgroup) != cgroup2fs ]] ||
        sed 's/\</+/g' /sys/fs/cgroup/cgroup.controllers >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null || true
    while read -r parent; do mkdir -p "$parent/$id"; done < <(cgroup_parents)
}

# Ends every process of every pod: exactly those in the cluster's cgroup.
cgroups_down() {
    local parent pids try
    for ((try = 0; try < 50; try++)); do
        pids=$(cgroup_parents | while read -r parent; do
            find "$parent/$id" -name cgroup.procs -exec cat {} + 2>/dev/null || true; done | sort -un | grep -vx 0 || true)
        [[ -n $pids ]] || break
        kill -KILL $pids 2>/dev/null || true
        sleep 0.1
    done
    while read -r parent; do
        find "$parent/$id" -depth -type d -exec rmdir {} + 2>/dev/null || true
    done < <(cgroup_parents)
}
