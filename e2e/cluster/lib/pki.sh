# Keys and certificates: one CA, a certificate per component, a kubeconfig per client.

pki=$cluster/pki
kubeconfig=$cluster/kubeconfig

# certificate NAME SUBJECT [SAN]   does nothing if it exists
certificate() {
    local name=$1 subject=$2 names=${3:-} usage=clientAuth
    [[ -s $pki/$name.crt ]] && return
    [[ -z $names ]] || usage=serverAuth,clientAuth
    openssl ecparam -name prime256v1 -genkey -noout -out "$pki/$name.key"
    openssl req -new -key "$pki/$name.key" -subj "$subject" -out "$pki/$name.csr"
    {
        echo "keyUsage=critical,digitalSignature"
        echo "extendedKeyUsage=$usage"
        [[ -z $names ]] || echo "subjectAltName=$names"
    } >"$pki/$name.ext"
    openssl x509 -req -in "$pki/$name.csr" -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial \
        -days 3650 -extfile "$pki/$name.ext" -out "$pki/$name.crt" 2>/dev/null
}

# client_config NAME SUBJECT FILE
client_config() {
    certificate "$1" "$2"
    [[ -s $3 ]] && return
    cat >"$3.new" <<EOF
apiVersion: v1
kind: Config
current-context: $id
contexts: [{name: $id, context: {cluster: $id, user: $1}}]
clusters:
- name: $id
  cluster: {server: "$server", certificate-authority-data: $(base64 -w0 <"$pki/ca.crt")}
users:
- name: $1
  user: {client-certificate-data: $(base64 -w0 <"$pki/$1.crt"), client-key-data: $(base64 -w0 <"$pki/$1.key")}
EOF
    chmod 600 "$3.new"
    mv "$3.new" "$3"
}

pki_up() {
    mkdir -p "$pki"
    if [[ ! -s $pki/ca.crt ]]; then
        openssl ecparam -name prime256v1 -genkey -noout -out "$pki/ca.key"
        openssl req -x509 -new -key "$pki/ca.key" -subj "/CN=$id" -days 3650 -out "$pki/ca.crt" \
            -addext keyUsage=critical,keyCertSign,digitalSignature
    fi
    # Signs the tokens of service accounts; RSA, so that they are RS256 as in most clusters.
    [[ -s $pki/service-account.key ]] || openssl genrsa -out "$pki/service-account.key" 2048 2>/dev/null
    openssl rsa -in "$pki/service-account.key" -pubout -out "$pki/service-account.pub" 2>/dev/null

    local names=DNS:localhost,IP:127.0.0.1,IP:$node_ip,IP:$cluster_ip suffix
    for suffix in "" .default .default.svc .default.svc.cluster.local; do names+=",DNS:kubernetes$suffix"; done
    certificate apiserver /CN=kube-apiserver "$names"
    certificate kubelet-server "/O=system:nodes/CN=system:node:$node" "DNS:$node,IP:$node_ip"
    certificate apiserver-kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client
    certificate front-proxy-client /CN=front-proxy-client

    client_config admin /O=system:masters/CN=admin "$kubeconfig"
    client_config controller-manager /CN=system:kube-controller-manager "$pki/controller-manager.conf"
    client_config scheduler /CN=system:kube-scheduler "$pki/scheduler.conf"
    client_config proxy /CN=system:kube-proxy "$pki/proxy.conf"
    client_config kubelet "/O=system:nodes/CN=system:node:$node" "$pki/kubelet.conf"
}
