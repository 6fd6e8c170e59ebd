# Names, numbers and folders of this checkout's cluster. Sourced by every script here and by e2e/llm.
#
# Everything follows from the checkout's path: an id (am-1a2b3c) for names, and an index for
# addresses and ports, so that the clusters of two checkouts run side by side.

lib=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
here=$(dirname "$lib")
checkout=$(cd "$here/../.." && pwd -P)

cache=${ASTROMESH_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/astromesh}
if [[ $(id -u) == 0 ]]; then
    state_root=${ASTROMESH_STATE:-/var/lib/astromesh}
else
    state_root=${ASTROMESH_STATE:-${XDG_STATE_HOME:-$HOME/.local/state}/astromesh}
fi

id=am-$(printf %s "$checkout" | sha256sum | cut -c1-6)
state=$state_root/$id       # this checkout's folder; e2e/llm keeps its own files in it, too
cluster=$state/cluster      # everything of the cluster: PKI, etcd, containerd, kubelet, logs
readonly indexes=50

say() { printf '%s %s\n' "${say_prefix:-cluster:}" "$*" >&2; }
die() {
    say "FAILED: $1"
    shift
    for hint in "$@"; do say "  $hint"; done
    exit 1
}

# Seconds since $started, which is a `date +%s%N`.
elapsed() {
    local tenths=$((($(date +%s%N) - started) / 100000000))
    echo "$((tenths / 10)).$((tenths % 10)) s"
}

# Takes a lock until unlock or the end of the script. Daemons must not inherit it: start_daemon
# closes it.
lock() {
    mkdir -p "$(dirname "$1")"
    exec 9>"$1"
    flock -n 9 || { say "waiting for another process to finish ($1)"; flock 9; }
}
unlock() { exec 9>&-; }

# Sets every address and port from an index. One /16 and 200 ports per cluster; the ports lie below
# the kernel's ephemeral range, so that no outgoing connection takes one of them.
use_index() {
    index=$1
    block=10.$((100 + index))
    base_port=$((20000 + 200 * index))
    pod_cidr=$block.0.0/24
    service_cidr=$block.128.0/18
    cluster_ip=$block.128.1    # the Service "kubernetes"
    dns_ip=$block.128.10
    node_ip=$block.254.1       # on the loopback device: host processes can listen on it
    host_ip=$block.255.1       # the two ends of the veth pair
    netns_ip=$block.255.2
    api_port=$base_port
    etcd_port=$((base_port + 1))
    etcd_peer_port=$((base_port + 2))
    kubelet_port=$((base_port + 3))
    kubelet_health_port=$((base_port + 4))
    controller_manager_port=$((base_port + 5))
    scheduler_port=$((base_port + 6))
    llm_port=$((base_port + 10))
    mock_port=$((base_port + 11))
    postgres_port=$((base_port + 12))
    redis_port=$((base_port + 13))
    node_port_first=$((base_port + 100))
    node_port_last=$((base_port + 199))
    server=https://$node_ip:$api_port
}

# An index is free if no other checkout has claimed it, no route of the machine lies in its block
# (or covers it, the default route apart) and nothing listens on its ports.
index_free() {
    local candidate=$1 other
    for other in "$state_root"/*/index; do
        [[ -f $other && $other != "$state/index" && $(<"$other") == "$candidate" ]] && return 1
    done
    local net=10.$((100 + candidate)).0.0/16 first=$((20000 + 200 * candidate))
    [[ -z $({ ip route show root "$net"; ip route show match "$net"; } | grep -v '^default') ]] || return 1
    ! grep -q "^nameserver ${net%.0.0/16}\." /etc/resolv.conf 2>/dev/null || return 1
    [[ -z $(ss -Hltn "sport >= :$first and sport <= :$((first + 199))") ]]
}

# Reads the recorded index; without one, chooses the first free one from the path's hash on.
claim_index() {
    if [[ -f $state/index ]]; then use_index "$(<"$state/index")"; return; fi
    mkdir -p "$state"
    local start=$((16#${id#am-} % indexes)) try
    mkdir -p "$cache/locks"
    exec 8>"$cache/locks/indexes"
    flock 8
    for ((try = 0; try < indexes; try++)); do
        if index_free $(((start + try) % indexes)); then
            use_index $(((start + try) % indexes))
            echo "$index" >"$state/index"
            echo "$checkout" >"$state/checkout"
            exec 8>&-
            return
        fi
    done
    die "all $indexes address blocks are taken" \
        "run e2e/cluster/down in checkouts that are not used any more; see $state_root/*/checkout"
}

# For scripts that only look: the recorded index, or the one that the path suggests.
read_index() {
    if [[ -f $state/index ]]; then use_index "$(<"$state/index")"; else use_index $((16#${id#am-} % indexes)); fi
}
