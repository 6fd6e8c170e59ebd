# Shared by `base` and `build`.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
checkout=$(cd "$here/../.." && pwd -P)
cache=${ASTROMESH_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/astromesh}/images

say() { printf 'images: %s\n' "$*" >&2; }
die() {
    say "FAILED: $1"
    shift
    for hint in "$@"; do say "  $hint"; done
    exit 1
}

need_buildah() {
    command -v buildah >/dev/null && return
    [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null || die "buildah is not installed" "install the package buildah"
    say "installing the Debian package buildah"
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends buildah; } \
        >/dev/null 2>&1 || die "cannot install buildah" "try: apt-get install buildah"
}

# A container store of our own, for one build: nothing accumulates and nothing else is touched. vfs and
# chroot work wherever root does, inside a container as well.
with_store() {
    store=$(mktemp -d)
    trap 'rm -rf "$store"' EXIT
    export BUILDAH_ISOLATION=chroot
}
store_buildah() { buildah --root "$store/root" --runroot "$store/run" --storage-driver vfs "$@"; }

# bud NAME ARGUMENT…   quiet unless it fails. The fixed time makes equal inputs equal images.
bud() {
    local name=$1
    shift
    store_buildah bud --quiet --timestamp 0 --tag "$name" "$@" >"$store/log" 2>&1 ||
        { tail -n 20 "$store/log" >&2; die "building $name failed"; }
}

# export_image NAME FILE
export_image() {
    rm -f "$2.new"
    store_buildah push --quiet "$1" "oci-archive:$2.new:$1" >"$store/log" 2>&1 ||
        { tail -n 5 "$store/log" >&2; die "writing $2 failed"; }
    mv "$2.new" "$2"
}
