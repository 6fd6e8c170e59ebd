# Removal of everything that belongs to this checkout's cluster, whatever state it is in.

components=(mounts etcd containerd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy)

# Every daemon carries a mark in its environment (process.sh), and containerd's shims, which outlive it,
# inherit it. So does what an interrupted `up` had started but not recorded yet.
marked() { grep -lszx "ASTROMESH_DAEMONS=$daemons" /proc/[0-9]*/environ | grep -o '[0-9]*' || true; }

remove_cluster() {
    # Nothing is kept, so nobody needs long to say goodbye; pods end with their cgroup.
    stop_daemons 1 kubelet kube-proxy kube-scheduler kube-controller-manager kube-apiserver
    cgroups_down
    stop_daemons 1 containerd etcd mounts
    local pids
    pids=$(marked)
    [[ -z $pids ]] || kill -KILL $pids 2>/dev/null || true
    cgroups_down
    network_down
    # Mounts live in the private namespace; only a crash in the middle could leave one out here.
    local target
    awk -v dir="$cluster/" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo | sort -r |
        while read -r target; do umount -l "$target" || true; done
    if [[ -f $cluster/made-folders ]]; then xargs rmdir 2>/dev/null <"$cluster/made-folders" || true; fi
    # A process on its way out may still hold a file or write a log line.
    local try
    for ((try = 0; try < 20; try++)); do rm -rf --one-file-system "$cluster" 2>/dev/null && return; sleep 0.2; done
    die "cannot delete $cluster" "see what is mounted: grep $id /proc/*/mountinfo"
}
