# shellcheck shell=bash disable=SC2034 # the variables are for those who source this
# Where a cluster of tools/cluster lives and what its parts are called. Sourced, by tools/cluster and by the scripts
# that it runs in the node's namespaces; all of them get the same answers from the same environment.

run=${PODVISOR_CLUSTER_DIR:-/run/podvisor-cluster}
if [[ ! $run =~ ^(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+$ ]]; then
    echo "error: PODVISOR_CLUSTER_DIR must be an absolute path of letters, digits, '.', '_' and '-', not \"$run\"" >&2
    exit 1
fi

# Several clusters may run side by side, each in a folder of its own: the folder gives a number, the number the names
# and addresses that the host sees.
if [[ $run == /run/podvisor-cluster ]]; then
    number=0
    data=${PODVISOR_CLUSTER_DATA:-/var/lib/podvisor-cluster}
else
    number=${PODVISOR_CLUSTER_NUMBER:-$(($(cksum <<<"$run" | cut -d' ' -f1) % 11 + 1))}
    data=${PODVISOR_CLUSTER_DATA:-$run/data}
fi

node_name=podvisor
cgroup=podvisor-cluster-$number
link=podvisor$number
pods=10.$((244 + number)).0.0/24
host_address=10.$((244 + number)).255.1
node_address=10.$((244 + number)).255.2
services=10.$((96 + number)).0.0/16
api_service=10.$((96 + number)).0.1
dns_service=10.$((96 + number)).0.10
server=https://$node_address:6443

# Folders with fixed names that the node's programs use: in the node's mount namespace each is a folder of the cluster.
node_folders=(
    "/run/containerd $run/containerd"
    "/var/lib/cni $run/cni"
    "/var/lib/kubelet $data/kubelet"
    "/var/log/containers $run/logs/containers"
    "/var/log/pods $run/logs/pods"
)

# Where the cgroup hierarchies (v1, v2, or v2 beside v1) are seen by the node, and the one that tells which processes
# are its own.
cgroup_v2() {
    [[ -e /sys/fs/cgroup/cgroup.controllers ]]
}

cgroup_hierarchies() {
    if cgroup_v2; then
        echo /sys/fs/cgroup
    else
        awk '{ for (i = 7; i <= NF && $i != "-"; i++) ; if ($(i + 1) ~ /^cgroup2?$/) print $5 }' /proc/self/mountinfo |
            grep '^/sys/fs/cgroup/' | sort -u
    fi
}

cgroup_of_processes() {
    if cgroup_v2; then
        echo "/sys/fs/cgroup/$cgroup"
    else
        echo "/sys/fs/cgroup/memory/$cgroup"
    fi
}

# Where nobody mounted the cgroup hierarchies (a chroot with a plain bind of /sys), the node mounts them for itself: in its
# mount namespace.
mount_cgroups() {
    local id controllers controller folder
    if cgroup_v2 || mountpoint -q /sys/fs/cgroup/memory; then
        return
    fi
    if ! grep -q '^[1-9]' /proc/self/cgroup; then
        mount -t cgroup2 cgroup2 /sys/fs/cgroup
        return
    fi
    mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
    while IFS=: read -r id controllers _; do
        [[ $id != 0 && -n $controllers ]] || continue
        folder=/sys/fs/cgroup/${controllers#name=}
        mkdir "$folder"
        mount -t cgroup -o "$controllers" cgroup "$folder"
        for controller in ${controllers//,/ }; do
            [[ -e /sys/fs/cgroup/${controller#name=} ]] || ln -s "$folder" "/sys/fs/cgroup/$controller"
        done
    done </proc/self/cgroup
}
