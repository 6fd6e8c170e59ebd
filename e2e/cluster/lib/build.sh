# The binaries: all of Kubernetes in one ("node"), CoreDNS and the pause program. Built once per
# version into the cache. The first build takes minutes, a relink from a warm Go cache seconds.

kubernetes=v1.34.4   # as in go.mod; 1.34 is the last version that accepts cgroup v1 by default
coredns=v1.12.4

build_key=$(cat "$here"/{go.mod,go.sum,main.go,pause/main.go,lib/build.sh} | sha256sum | cut -c1-16)
bin=$cache/cluster/$build_key

built() { [[ -x $bin/node && -x $bin/coredns && -x $bin/pause ]]; }

build() {
    built && return
    command -v go >/dev/null || die "Go is not installed" \
        "install Go 1.24 or newer and put it on PATH; it builds the cluster's components once"
    lock "$bin.lock"
    if built; then unlock; return; fi
    say "building Kubernetes $kubernetes and CoreDNS $coredns into $bin"
    say "  once only; 5 to 10 minutes if nothing is in the Go build cache"
    local started=$SECONDS package flags="-s -w"
    # Without these the components would report v0.0.0-master.
    for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
        flags+=" -X $package.gitVersion=$kubernetes -X $package.gitMajor=1 -X $package.gitMinor=34"
    done
    mkdir -p "$bin.new"
    # Always the same flags: another CGO_ENABLED would compile everything anew. Nice, because builds
    # of the project itself often run at the same time.
    (
        cd "$here"
        export CGO_ENABLED=0 GOWORK=off GOBIN=$bin.new
        nice -n 5 go build -buildvcs=false -trimpath -ldflags "$flags" -o "$bin.new/node" .
        nice -n 5 go build -buildvcs=false -trimpath -ldflags "-s -w" -o "$bin.new/pause" ./pause
        nice -n 5 go install -buildvcs=false -trimpath -ldflags "-s -w" "github.com/coredns/coredns@$coredns"
    ) >"$bin.log" 2>&1 9>&- &
    local builder=$!
    while kill -0 "$builder" 2>/dev/null; do
        sleep 1
        (((SECONDS - started) % 30)) || say "  … $((SECONDS - started)) s"
    done
    wait "$builder" || { tail -n 20 "$bin.log" >&2; die "the build failed" "whole output: $bin.log"; }
    mv -T "$bin.new" "$bin"
    unlock
    say "built in $((SECONDS - started)) s"
}
