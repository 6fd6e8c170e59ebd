# Images for the cluster itself, and loading of archives. No registry is involved.

# binary_image BINARY NAME FILE   a docker-archive with nothing but one static binary in it
binary_image() {
    local binary=$1 name=$2 file=$3 work layer
    [[ -s $file ]] && return
    work=$(mktemp -d)
    mkdir "$work/root"
    cp "$binary" "$work/root/"
    tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$work/root" -cf "$work/layer.tar" .
    layer=$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
    printf '{"architecture":"%s","os":"linux","config":{"Entrypoint":["/%s"],"User":"65532:65532"},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
        "$(go env GOARCH)" "$(basename "$binary")" "$layer" >"$work/config.json"
    printf '[{"Config":"config.json","RepoTags":["%s"],"Layers":["layer.tar"]}]' "$name" >"$work/manifest.json"
    tar -C "$work" -cf "$file.new" manifest.json config.json layer.tar
    mv "$file.new" "$file"
    rm -rf "$work"
}

load_archive() { ctr --address "$socket" --namespace k8s.io images import "$1"; }

system_images() {
    binary_image "$bin/pause" localhost/pause:1 "$bin/pause.tar"
    binary_image "$bin/coredns" "localhost/coredns:$coredns" "$bin/coredns.tar"
    local file
    for file in "$bin"/{pause,coredns}.tar; do
        load_archive "$file" >>"$log_dir/images.log" 2>&1 || {
            tail -n 5 "$log_dir/images.log" >&2
            die "cannot load $file" "delete it and try again"
        }
    done
}
