# Shared by e2e/stage, e2e/test, e2e/demo, e2e/run and e2e/down: names, the choice of the cluster, the tools.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cache=${ASTROMESH_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/astromesh}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}
out=$CARGO_TARGET_DIR/e2e               # images, packaged charts, values: everything that is made from this checkout
system=astromesh-system                 # namespace of the operator
local=$root/e2e/cluster

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
die() {
    printf '\033[31mFAILED:\033[0m %s\n' "$1" >&2
    shift
    for hint in "$@"; do printf '  %s\n' "$hint" >&2; done
    exit 1
}

# Says every 30 s that the work goes on, until this script ends: builds can be silent for minutes.
heartbeat() {
    local parent=$$
    while sleep 30 && kill -0 "$parent" 2>/dev/null; do say "still at work, $SECONDS s after the start"; done &
    beat=$!
}

need() { command -v "$1" >/dev/null || die "$1 is not installed" "$2"; }

# The cluster: what CLUSTER says, else kind where it can run, else the local one.
choose_cluster() {
    if [[ -z ${CLUSTER:-} ]]; then
        if command -v kind >/dev/null && docker info >/dev/null 2>&1; then CLUSTER=kind; else CLUSTER=local; fi
    fi
    case $CLUSTER in
    current | kind | local) ;;
    *) die "CLUSTER=$CLUSTER is not known" "use current (your kubeconfig), kind or local" ;;
    esac
    if [[ $CLUSTER != local ]]; then need kubectl "it talks to your cluster"; fi
    if [[ $CLUSTER == kind ]]; then
        need docker "kind runs its nodes in it"
        need kind "or use CLUSTER=current or CLUSTER=local"
    fi
    if [[ $CLUSTER == current && ( -z ${OPERATOR_IMAGE:-} || -z ${AGENT_IMAGE:-} ) ]]; then
        die "your cluster must be able to pull the images" \
            "build and push them (README, \"On your own cluster\"), then set OPERATOR_IMAGE and AGENT_IMAGE to their names with tags"
    fi
    kind_name=astromesh-$(printf %s "$root" | sha256sum | cut -c1-6)
}

# Sets KUBECONFIG and KUBECTL.
cluster_up() {
    case $CLUSTER in
    local)
        "$local/up"
        KUBECONFIG=$("$local/kubeconfig")
        KUBECTL=$local/kubectl
        ;;
    kind)
        kind get clusters 2>/dev/null | grep -qx "$kind_name" || kind create cluster --name "$kind_name" >&2
        mkdir -p "$out"
        KUBECONFIG=$out/kubeconfig
        kind get kubeconfig --name "$kind_name" >"$KUBECONFIG"
        ;;
    current) KUBECONFIG=${KUBECONFIG:-$HOME/.kube/config} ;;
    esac
    KUBECTL=${KUBECTL:-kubectl}
    export KUBECONFIG KUBECTL
    "$KUBECTL" get --raw /readyz >/dev/null || die "the cluster does not answer" "kubeconfig: $KUBECONFIG"
}

load_images() {
    case $CLUSTER in
    local) "$local/load-image" "$@" ;;
    kind) for image; do kind load docker-image "$image" --name "$kind_name" >&2; done ;;
    current) ;;
    esac
}

# The address of this machine that pods can reach.
machine_address() {
    case $CLUSTER in
    local) "$KUBECTL" get node -o jsonpath='{.items[0].status.addresses[?(@.type=="InternalIP")].address}' ;;
    kind) docker network inspect kind -f '{{range .IPAM.Config}}{{.Gateway}}{{"\n"}}{{end}}' | grep -m1 -F . ;;
    current) echo "${ASTROMESH_HOST:-}" ;;
    esac
}
