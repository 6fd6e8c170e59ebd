# Configuration and start of every component, each a function that does nothing if it runs already.

node=node-1
socket=$cluster/containerd.sock
k() { "$bin/node" kubectl --kubeconfig "$kubeconfig" "$@"; }

start_etcd() {
    start_daemon etcd "$bin/node" etcd --data-dir "$cluster/etcd" \
        --client-url "http://127.0.0.1:$etcd_port" --peer-url "http://127.0.0.1:$etcd_peer_port"
}

start_apiserver() {
    start_daemon kube-apiserver "$bin/node" kube-apiserver \
        --etcd-servers="http://127.0.0.1:$etcd_port" \
        --bind-address="$node_ip" --advertise-address="$node_ip" --secure-port="$api_port" \
        --authorization-mode=Node,RBAC --allow-privileged=true \
        --service-cluster-ip-range="$service_cidr" \
        --service-node-port-range="$node_port_first-$node_port_last" \
        --client-ca-file="$pki/ca.crt" \
        --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" \
        --service-account-issuer=https://kubernetes.default.svc \
        --service-account-key-file="$pki/service-account.pub" \
        --service-account-signing-key-file="$pki/service-account.key" \
        --kubelet-certificate-authority="$pki/ca.crt" \
        --kubelet-client-certificate="$pki/apiserver-kubelet-client.crt" \
        --kubelet-client-key="$pki/apiserver-kubelet-client.key" \
        --kubelet-preferred-address-types=InternalIP \
        --requestheader-client-ca-file="$pki/ca.crt" --requestheader-allowed-names=front-proxy-client \
        --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group \
        --requestheader-extra-headers-prefix=X-Remote-Extra- \
        --proxy-client-cert-file="$pki/front-proxy-client.crt" \
        --proxy-client-key-file="$pki/front-proxy-client.key" --enable-aggregator-routing=true
}

start_controllers() {
    # The usual request limits would alone make the start of all controllers take 5 s.
    start_daemon kube-controller-manager "$bin/node" kube-controller-manager \
        --kubeconfig="$pki/controller-manager.conf" --leader-elect=false \
        --bind-address="$node_ip" --secure-port="$controller_manager_port" \
        --kube-api-qps=200 --kube-api-burst=400 \
        --use-service-account-credentials=true --root-ca-file="$pki/ca.crt" \
        --service-account-private-key-file="$pki/service-account.key" \
        --cluster-cidr="$pod_cidr" --service-cluster-ip-range="$service_cidr"
    start_daemon kube-scheduler "$bin/node" kube-scheduler \
        --kubeconfig="$pki/scheduler.conf" --leader-elect=false \
        --bind-address="$node_ip" --secure-port="$scheduler_port" --kube-api-qps=200 --kube-api-burst=400
}

start_proxy() {
    cat >"$cluster/proxy.yaml" <<EOF
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: $pki/proxy.conf}
hostnameOverride: $node
mode: iptables
clusterCIDR: $pod_cidr
nodePortAddresses: ["$netns_ip/32"]
conntrack: {maxPerCore: 0, min: 0}
oomScoreAdj: 0
EOF
    start_daemon kube-proxy nsenter --net="$netns" "$bin/node" kube-proxy --config="$cluster/proxy.yaml"
}

# overlayfs wherever the cluster's folder allows it (not on an overlay itself, for example).
snapshotter() {
    local dir=$cluster/overlay-test
    mkdir -p "$dir"/{lower,upper,work,merged}
    if unshare --mount mount -t overlay overlay -o "lowerdir=$dir/lower,upperdir=$dir/upper,workdir=$dir/work" \
        "$dir/merged" 2>/dev/null; then echo overlayfs; else echo native; fi
    rm -rf "$dir"
}

start_containerd() {
    local root=$cluster/containerd
    mkdir -p "$root" "$cluster/cni/conf" "$cluster/cni/data"
    cat >"$cluster/cni/conf/10-$id.conflist" <<EOF
{"cniVersion": "0.4.0", "name": "$id", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
   "mtu": $(cat "/sys/class/net/$id/mtu"),
   "ipam": {"type": "host-local", "dataDir": "$cluster/cni/data",
            "ranges": [[{"subnet": "$pod_cidr"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
EOF
    # restrict_oom_score_adj: without CAP_SYS_RESOURCE no pod would start. The streaming server (exec,
    # port-forward) listens where the kubelet, outside the network namespace, can reach it.
    [[ -s $root/config.toml ]] || cat >"$root/config.toml" <<EOF
version = 2
root = "$root/root"
state = "$root/state"
[grpc]
  address = "$socket"
[plugins."io.containerd.internal.v1.opt"]
  path = "$root/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  stream_server_address = "$netns_ip"
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "$(snapshotter)"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$cni_bin"
    conf_dir = "$cluster/cni/conf"
EOF
    start_daemon containerd nsenter --mount="$(mounts_file)" --net="$netns" containerd --config "$root/config.toml"
}

start_kubelet() {
    # A resolver on the machine's loopback is none for pods.
    grep -vE '^nameserver (127\.|::1)' /etc/resolv.conf >"$cluster/resolv.conf" 2>/dev/null || true
    cat >"$cluster/kubelet.yaml" <<EOF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $node_ip
port: $kubelet_port
healthzPort: $kubelet_health_port
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $pki/kubelet-server.crt
tlsPrivateKeyFile: $pki/kubelet-server.key
containerRuntimeEndpoint: unix://$socket
cgroupDriver: cgroupfs
cgroupRoot: /$id
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
clusterDomain: cluster.local
clusterDNS: [$dns_ip]
resolvConf: $cluster/resolv.conf
podLogsDir: $cluster/pod-logs
# Changed Secrets reach pods within seconds instead of the usual minute.
syncFrequency: 10s
configMapAndSecretChangeDetectionStrategy: Watch
serializeImagePulls: false
# Images come from load-image only: never collect them. A nearly full disk is no reason to evict.
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 50Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1%}
# kube-proxy's rules belong into the pods' namespace; the kubelet is not in it.
makeIPTablesUtilChains: false
EOF
    start_daemon kubelet nsenter --mount="$(mounts_file)" \
        "$bin/node" kubelet --config="$cluster/kubelet.yaml" \
        --kubeconfig="$pki/kubelet.conf" --root-dir="$cluster/kubelet" \
        --hostname-override="$node" --node-ip="$node_ip"
}
