# shellcheck shell=bash
# What the scripts in tools/ share: progress with times, package installation, cleaning up.
# Sourced, never run. Expects `set -euo pipefail`.

PODVISOR_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PODVISOR_CACHE=${PODVISOR_CACHE:-${XDG_CACHE_HOME:-/var/cache}/podvisor}
export PODVISOR_CACHE

if [[ -t 2 ]]; then
    BOLD=$'\e[1m' DIM=$'\e[2m' RED=$'\e[31m' RESET=$'\e[0m'
else
    BOLD='' DIM='' RED='' RESET=''
fi

say() {
    printf '%s\n' "$*" >&2
}

die() {
    printf '%serror:%s %s\n' "$RED" "$RESET" "$*" >&2
    exit 1
}

require_root() {
    [[ $(id -u) -eq 0 ]] || die "$1 needs root: run it as  sudo $1"
}

# step "title" command…: runs the command with its output in a log; shows title, time and, when it
# fails, the end of the log. A failed step ends the script.
STEP_LOGS=$(mktemp -d "${TMPDIR:-/tmp}/podvisor.XXXXXX")
STEP_NUMBER=0
step() {
    local title=$1 start end log status=0
    shift
    STEP_NUMBER=$((STEP_NUMBER + 1))
    log=$STEP_LOGS/$STEP_NUMBER.log
    printf '%s[%2d]%s %-58s' "$BOLD" "$STEP_NUMBER" "$RESET" "$title" >&2
    start=$(date +%s.%N)
    "$@" >"$log" 2>&1 </dev/null || status=$?
    end=$(date +%s.%N)
    if [[ $status -eq 0 ]]; then
        printf '%s%7.1f s%s\n' "$DIM" "$(bc_sub "$end" "$start")" "$RESET" >&2
        return 0
    fi
    printf '%sfailed%s after %.1f s\n' "$RED" "$RESET" "$(bc_sub "$end" "$start")" >&2
    tail -n 60 "$log" >&2
    die "$title failed (exit status $status)"
}

bc_sub() {
    awk -v a="$1" -v b="$2" 'BEGIN { printf "%.1f", a - b }'
}

# install_packages GROUP: installs what is missing of the group in tools/packages; asks apt for
# nothing when all is there.
install_packages() {
    local group=$1 missing=() name groups
    while read -r name groups; do
        [[ -z $name || $name == '#'* ]] && continue
        [[ " $groups " == *" $group "* ]] || continue
        dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
    done <"$PODVISOR_ROOT/tools/packages"
    [[ ${#missing[@]} -eq 0 ]] && return 0
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
}

require_kvm() {
    [[ -e /dev/kvm ]] ||
        die "/dev/kvm is missing: load kvm_intel or kvm_amd (modprobe), or enable virtualisation in the firmware"
    [[ -r /dev/kvm && -w /dev/kvm ]] || die "/dev/kvm cannot be opened by $(id -un): run as root or join the group kvm"
}

# The shadow-paging KVM of some test hosts emulates the guest's kernel mode; say so and allow for it.
host_is_pvm() {
    [[ -d /sys/module/kvm_pvm ]]
}
