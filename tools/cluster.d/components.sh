# shellcheck shell=bash
# The node's programs: their configuration in $run/conf and their command lines. Sourced by tools/cluster after
# settings.sh and certificates.sh; $kubernetes is the folder of the built programs.

components=(containerd etcd apiserver controller-manager scheduler kubelet proxy)

conf=$run/conf

# command_of COMPONENT: sets the array `command`.
command_of() {
    case $1 in
    containerd) command=(containerd --config "$conf/containerd.toml") ;;
    etcd)
        command=(etcd --name podvisor --data-dir "$data/etcd" --unsafe-no-fsync --log-level warn --logger zap
            --log-outputs stderr --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379
            --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380
            --initial-cluster podvisor=http://127.0.0.1:2380)
        ;;
    apiserver) apiserver_command ;;
    controller-manager)
        command=("$kubernetes/kube-controller-manager" --kubeconfig="$pki/controller-manager.kubeconfig"
            --authentication-kubeconfig="$pki/controller-manager.kubeconfig"
            --authorization-kubeconfig="$pki/controller-manager.kubeconfig" --leader-elect=false
            --bind-address=127.0.0.1 --port=0 --use-service-account-credentials=true
            --service-account-private-key-file="$pki/service-account.key" --root-ca-file="$pki/ca.crt"
            --cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key"
            --feature-gates=BoundServiceAccountTokenVolume=true --flex-volume-plugin-dir="$run/flexvolume")
        ;;
    scheduler)
        command=("$kubernetes/kube-scheduler" --kubeconfig="$pki/scheduler.kubeconfig"
            --authentication-kubeconfig="$pki/scheduler.kubeconfig"
            --authorization-kubeconfig="$pki/scheduler.kubeconfig" --leader-elect=false --bind-address=127.0.0.1 --port=0)
        ;;
    kubelet)
        command=("$kubernetes/kubelet" --config="$conf/kubelet.yaml" --kubeconfig="$pki/kubelet.kubeconfig"
            --container-runtime=remote --container-runtime-endpoint=unix:///run/containerd/containerd.sock
            --hostname-override="$node_name" --node-ip="$node_address")
        ;;
    proxy)
        # Without br_netfilter an answer between two pods of the bridge would not be translated back: then hide the client.
        command=("$kubernetes/kube-proxy" --kubeconfig="$pki/proxy.kubeconfig" --hostname-override="$node_name"
            --proxy-mode=iptables --cluster-cidr="$pods" --conntrack-max-per-core=0 --conntrack-min=0
            --conntrack-tcp-timeout-established=0s --conntrack-tcp-timeout-close-wait=0s
            --metrics-bind-address=127.0.0.1:10249 --healthz-bind-address=127.0.0.1:10256)
        [[ -e /proc/sys/net/bridge/bridge-nf-call-iptables ]] || command+=(--masquerade-all)
        ;;
    *) die "no such component: $1 (there are: ${components[*]})" ;;
    esac
}

apiserver_command() {
    command=("$kubernetes/kube-apiserver" --advertise-address="$node_address" --bind-address=0.0.0.0 --secure-port=6443
        --etcd-servers=http://127.0.0.1:2379 --service-cluster-ip-range="$services" --allow-privileged=true
        --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --anonymous-auth=true
        --client-ca-file="$pki/ca.crt" --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key"
        --kubelet-certificate-authority="$pki/ca.crt" --kubelet-client-certificate="$pki/apiserver-kubelet-client.crt"
        --kubelet-client-key="$pki/apiserver-kubelet-client.key" --kubelet-preferred-address-types=InternalIP
        --service-account-issuer=https://kubernetes.default.svc.cluster.local
        --service-account-key-file="$pki/service-account.pub" --service-account-signing-key-file="$pki/service-account.key"
        --feature-gates=BoundServiceAccountTokenVolume=true
        --requestheader-client-ca-file="$pki/front-proxy-ca.crt" --requestheader-allowed-names=front-proxy-client
        --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group
        --requestheader-extra-headers-prefix=X-Remote-Extra-
        --proxy-client-cert-file="$pki/front-proxy-client.crt" --proxy-client-key-file="$pki/front-proxy-client.key"
        --enable-aggregator-routing=true
        --audit-policy-file="$conf/audit.yaml" --audit-log-path="$run/logs/audit.log" --audit-log-maxsize=100
        --audit-log-maxbackup=1)
}

# The address a component listens at in the node, as "address port", when it is a TCP one.
port_of() {
    case $1 in
    etcd) echo 2379 ;;
    apiserver) echo 6443 ;;
    controller-manager) echo 10257 ;;
    scheduler) echo 10259 ;;
    kubelet) echo 10250 ;;
    proxy) echo 10256 ;;
    esac
}

configure_containerd() {
    cat >"$conf/containerd.toml" <<END
version = 2
root = "$data/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
                    "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "podvisor.local/pause:1"
  netns_mounts_under_state_dir = true
  disable_apparmor = true
  restrict_oom_score_adj = true
  device_ownership_from_security_context = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "$conf/cni"
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "$(snapshotter)"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
END
}

# overlayfs, but not on top of another overlayfs.
snapshotter() {
    local try=$data/try-overlay
    mkdir -p "$try"/{lower,upper,work,merged}
    if in_node mount -t overlay -o "lowerdir=$try/lower,upperdir=$try/upper,workdir=$try/work" overlay "$try/merged"; then
        in_node umount "$try/merged"
        echo overlayfs
    else
        echo native
    fi
    rm -rf "$try"
}

configure_cni() {
    mkdir -p "$conf/cni"
    cat >"$conf/cni/10-podvisor.conflist" <<END
{
  "cniVersion": "0.4.0",
  "name": "podvisor",
  "plugins": [
    {
      "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
      "ipam": {
        "type": "host-local", "dataDir": "$run/addresses",
        "ranges": [[{ "subnet": "$pods" }]], "routes": [{ "dst": "0.0.0.0/0" }]
      }
    },
    { "type": "portmap", "capabilities": { "portMappings": true } }
  ]
}
END
}

# No image is ever collected: there is no registry to get it from again.
configure_kubelet() {
    cat >"$conf/kubelet.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: { anonymous: { enabled: false }, webhook: { enabled: true }, x509: { clientCAFile: $pki/ca.crt } }
authorization: { mode: Webhook }
tlsCertFile: $pki/kubelet-server.crt
tlsPrivateKeyFile: $pki/kubelet-server.key
clusterDomain: cluster.local
clusterDNS: [$dns_service]
cgroupDriver: cgroupfs
cgroupRoot: /$cgroup
enforceNodeAllocatable: []
failSwapOn: false
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: { memory.available: 100Mi, nodefs.available: 1%, nodefs.inodesFree: 1%, imagefs.available: 1% }
volumePluginDir: $run/flexvolume
nodeStatusUpdateFrequency: 5s
END
}

# Who did what, without the control plane itself: tests count requests and compare them with what RBAC allows.
configure_audit() {
    cat >"$conf/audit.yaml" <<END
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  users: [system:apiserver, system:kube-controller-manager, system:kube-scheduler, system:kube-proxy]
- level: None
  userGroups: [system:nodes, "system:serviceaccounts:kube-system"]
- level: Metadata
END
}

configure() {
    local name
    [[ ! -e $conf/audit.yaml ]] || return 0
    mkdir -p "$conf" "$run/bin" "$run/flexvolume"
    # Whatever the system's alternative is: kube-proxy 1.20 and its rules are at home in the legacy tables.
    for name in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
        ln -sfn /usr/sbin/xtables-legacy-multi "$run/bin/$name"
    done
    configure_containerd
    configure_cni
    configure_kubelet
    configure_audit
}
