# Removal of everything that belongs to this checkout's cluster, whatever state it is in.

components=(mounts etcd containerd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy)

# Shims outlive containerd. They are known by the socket in their command line, which is ours alone.
shims() {
    local file
    for file in /proc/[0-9]*/cmdline; do
        if { tr '\0' ' ' <"$file"; } 2>/dev/null | grep -q "^\S*containerd-shim.* -address $socket "; then
            file=${file#/proc/}
            echo "${file%/cmdline}"
        fi
    done
}

remove_cluster() {
    # Nothing is kept, so nobody needs long to say goodbye; pods end with their cgroup.
    stop_daemons 3 kubelet kube-proxy kube-scheduler kube-controller-manager kube-apiserver
    cgroups_down
    local pids
    stop_daemons 3 containerd etcd
    pids=$(shims)
    [[ -z $pids ]] || kill -KILL $pids 2>/dev/null || true
    cgroups_down
    stop_daemons 0 mounts
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
