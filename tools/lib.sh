# shellcheck shell=bash
# What the scripts in tools/ share: progress with times, package installation, the tree's owner.
# Sourced, never run. Expects `set -euo pipefail`, and one trap of the script on EXIT that calls end_steps.

# Numbers and messages are read and printed here: the same everywhere.
export LC_ALL=C.UTF-8

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

# The end of a script: removes logs, ends the progress line. Never fails.
end_steps() {
    [[ -z $STEP_TICKER ]] || kill -KILL "$STEP_TICKER" 2>/dev/null
    [[ -z $STEP_LOGS ]] || rm -rf "$STEP_LOGS"
    return 0
}

# While a step runs: on a terminal its seconds and the log's last line; in a file a line every minute.
step_tick() {
    local log=$1 head=$2 seconds=0 last
    while sleep 1 && kill -0 $$ 2>/dev/null; do
        seconds=$((seconds + 1))
        last=$(tail -n 1 "$log" | tr -cd '[:print:]')
        if [[ -t 2 ]]; then
            [[ $seconds -gt 2 ]] && printf '\r%s%4d s  %s%.40s%s\e[K' "$head" "$seconds" "$DIM" "$last" "$RESET" >&2
        elif [[ $((seconds % 60)) -eq 0 ]]; then
            printf '\n     ... %d s: %.90s' "$seconds" "$last" >&2
        fi
    done
}

# try_step "title" command…: runs the command with its output in a log; shows title, time and, when it fails, the end
# of the log. The command's status is in STEP_STATUS. It runs in a subshell: it cannot set variables.
STEP_LOGS='' # a temporary folder, from the first step on
STEP_NUMBER=0
STEP_TICKER='' STEP_STATUS=0
try_step() {
    local title=$1 start log head
    shift
    [[ -n $STEP_LOGS ]] || STEP_LOGS=$(mktemp -d "${TMPDIR:-/tmp}/podvisor.XXXXXX")
    STEP_NUMBER=$((STEP_NUMBER + 1))
    log=$STEP_LOGS/$STEP_NUMBER.log
    printf -v head '%s[%2d]%s %-62s' "$BOLD" "$STEP_NUMBER" "$RESET" "$title"
    printf '%s' "$head" >&2
    : >"$log"
    start=$(date +%s.%N)
    step_tick "$log" "$head" &
    STEP_TICKER=$!
    # Not in a condition, nor may this function be called in one: the shell would go on after a failure inside.
    set +e
    (
        set -e
        "$@"
    ) >"$log" 2>&1 </dev/null
    STEP_STATUS=$?
    # A child that is a moment old has this shell's traps still: a signal that it could handle would end the script.
    kill -KILL "$STEP_TICKER" 2>/dev/null
    wait "$STEP_TICKER" 2>/dev/null
    set -e
    STEP_TICKER=''
    [[ ! -t 2 ]] || printf '\r%s\e[K' "$head" >&2
    if [[ $STEP_STATUS -eq 0 ]]; then
        printf '%s%7.1f s%s\n' "$DIM" "$(seconds_since "$start")" "$RESET" >&2
    else
        printf '%sfailed%s after %.1f s\n' "$RED" "$RESET" "$(seconds_since "$start")" >&2
        tail -n 60 "$log" | sed 's/^/     | /' >&2
    fi
}

# The same; a failure ends the script.
step() {
    try_step "$@"
    [[ $STEP_STATUS -eq 0 ]] || die "\"$1\" failed (exit status $STEP_STATUS); its last lines are above"
}

seconds_since() {
    awk -v a="$(date +%s.%N)" -v b="$1" 'BEGIN { printf "%.1f", a - b }'
}

# install_packages GROUP: installs what is missing of the group in tools/packages; asks apt for
# nothing when all is there. "a|b" is there when one of them is; else a is installed.
install_packages() {
    local group=$1 missing=() name groups
    while read -r name groups; do
        [[ -z $name || $name == '#'* ]] && continue
        [[ " $groups " == *" $group "* ]] || continue
        # shellcheck disable=SC2086 # a list
        { dpkg-query -W -f '${Status} ' ${name//|/ } 2>/dev/null || true; } | grep -q 'ok installed' ||
            missing+=("${name%%|*}")
    done <"$PODVISOR_ROOT/tools/packages"
    [[ ${#missing[@]} -eq 0 ]] && return 0
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
}

# as_owner command…: as the user whose clone this is, so that `sudo tools/…` leaves no file of root's in it.
as_owner() {
    local uid gid home
    read -r uid gid < <(stat -c '%u %g' "$PODVISOR_ROOT")
    if [[ $uid -eq 0 ]] || ! setpriv --reuid="$uid" --regid="$gid" --clear-groups test -w "$PODVISOR_ROOT"; then
        "$@"
        return
    fi
    home=$(getent passwd "$uid" | cut -d: -f6) || true
    setpriv --reuid="$uid" --regid="$gid" --clear-groups env HOME="${home:-/nonexistent}" "$@"
}

# Gives the owner what root's tests made in the build folder.
give_back() {
    [[ ! -d $PODVISOR_ROOT/build ]] ||
        chown -R --from=root "$(stat -c '%u:%g' "$PODVISOR_ROOT")" "$PODVISOR_ROOT/build" 2>/dev/null || true
}

# build PRESET: configures and builds in build/PRESET.
build() {
    give_back
    as_owner cmake --preset "$1"
    as_owner cmake --build --preset "$1"
}

require_kvm() {
    [[ -e /dev/kvm ]] ||
        die "/dev/kvm is missing: load kvm_intel or kvm_amd (modprobe), or enable virtualisation in the firmware"
    [[ -r /dev/kvm && -w /dev/kvm ]] || die "/dev/kvm cannot be opened by $(id -un): run as root or join the group kvm"
    [[ -r /dev/net/tun && -w /dev/net/tun ]] ||
        die "/dev/net/tun cannot be opened by $(id -un): modprobe tun; in a container, hand the device in"
}

# The shadow-paging KVM of some test hosts emulates the guest's kernel mode; say so and allow for it.
host_is_pvm() {
    [[ -d /sys/module/kvm_pvm ]]
}
