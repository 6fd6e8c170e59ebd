# What the machine must have. Debian packages are listed here and nowhere else.

packages=(containerd runc containernetworking-plugins iptables conntrack iproute2 openssl util-linux procps)
programs=(containerd ctr runc iptables conntrack ip ss openssl unshare nsenter setsid flock sysctl)

cni_bin=/usr/lib/cni
[[ -x /usr/lib/cni/bridge || ! -x /opt/cni/bin/bridge ]] || cni_bin=/opt/cni/bin

missing_programs() {
    local program
    for program in "${programs[@]}"; do command -v "$program" >/dev/null || echo "$program"; done
    [[ -x $cni_bin/bridge && -x $cni_bin/portmap ]] || echo CNI-plugins
}

install_packages() {
    local missing
    missing=$(missing_programs | xargs)
    [[ -n $missing ]] || return 0
    command -v apt-get >/dev/null || die "missing: $missing" "install what your distribution calls: ${packages[*]}"
    say "installing Debian packages (missing: $missing)"
    local log
    log=$(mktemp)
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${packages[@]}"; } \
        >"$log" 2>&1 || { tail -n 5 "$log" >&2; die "apt-get failed" "try: apt-get install ${packages[*]}"; }
    rm -f "$log"
    hash -r
    missing=$(missing_programs | xargs)
    [[ -z $missing ]] || die "still missing after the installation: $missing"
}
