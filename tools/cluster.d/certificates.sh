# shellcheck shell=bash
# The cluster's certificates and kubeconfigs, in $run/pki. Sourced by tools/cluster after settings.sh.
# EC keys: an RSA key takes a second to find.

pki=$run/pki

make_key() {
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$pki/$1.key"
}

# make_ca NAME
make_ca() {
    make_key "$1"
    openssl req -x509 -new -sha256 -days 365 -key "$pki/$1.key" -subj "/CN=podvisor-$1" -out "$pki/$1.crt" \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,digitalSignature,keyCertSign
}

# make_certificate CA NAME SUBJECT [SUBJECT_ALT_NAMES]: a client's, or with names a server's.
make_certificate() {
    local ca=$1 name=$2 subject=$3 names=${4:-} usage=clientAuth
    make_key "$name"
    [[ -z $names ]] || usage=serverAuth
    openssl req -new -sha256 -key "$pki/$name.key" -subj "$subject" |
        openssl x509 -req -sha256 -days 365 -CA "$pki/$ca.crt" -CAkey "$pki/$ca.key" -out "$pki/$name.crt" \
            -set_serial "0x$(openssl rand -hex 16)" -extfile <(
                echo basicConstraints=critical,CA:FALSE
                echo keyUsage=critical,digitalSignature
                echo "extendedKeyUsage=$usage"
                [[ -z $names ]] || echo "subjectAltName=$names"
            )
}

# make_kubeconfig NAME FILE: with the keys in it, so that it may be copied.
make_kubeconfig() {
    (umask 077 && cat >"$2") <<END
apiVersion: v1
kind: Config
clusters:
- name: podvisor
  cluster:
    server: $server
    certificate-authority-data: $(base64 -w0 "$pki/ca.crt")
users:
- name: $1
  user:
    client-certificate-data: $(base64 -w0 "$pki/$1.crt")
    client-key-data: $(base64 -w0 "$pki/$1.key")
contexts:
- name: podvisor
  context:
    cluster: podvisor
    user: $1
current-context: podvisor
END
}

make_certificates() {
    [[ ! -e $run/kubeconfig ]] || return 0
    mkdir -p "$pki" && chmod 700 "$pki"
    # With --keep the authority outlives the run: tokens and certificates that were handed out stay valid.
    if [[ -e $data/pki/ca.crt ]]; then
        cp -p "$data"/pki/* "$pki"
    else
        make_ca ca
        make_ca front-proxy-ca
        make_key service-account
        mkdir -p "$data/pki" && chmod 700 "$data/pki"
        cp -p "$pki"/* "$data/pki"
    fi
    openssl pkey -in "$pki/service-account.key" -pubout -out "$pki/service-account.pub"
    local names="IP:127.0.0.1,IP:$node_address,IP:$api_service,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default"
    names+=",DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
    make_certificate ca apiserver /CN=kube-apiserver "$names"
    make_certificate ca kubelet-server "/CN=$node_name" "IP:$node_address,DNS:$node_name"
    make_certificate ca apiserver-kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client
    make_certificate ca admin /O=system:masters/CN=kubernetes-admin
    make_certificate ca controller-manager /CN=system:kube-controller-manager
    make_certificate ca scheduler /CN=system:kube-scheduler
    make_certificate ca kubelet "/O=system:nodes/CN=system:node:$node_name"
    make_certificate ca proxy /CN=system:kube-proxy
    make_certificate front-proxy-ca front-proxy-client /CN=front-proxy-client
    local name
    for name in controller-manager scheduler kubelet proxy; do
        make_kubeconfig "$name" "$pki/$name.kubeconfig"
    done
    # Last: it says that everything before is there.
    make_kubeconfig admin "$run/kubeconfig"
    [[ -z ${SUDO_UID:-} ]] || chown "$SUDO_UID" "$run/kubeconfig"
}
