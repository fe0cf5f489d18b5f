#!/usr/bin/env bash
# Boots a real systemd in temporary namespaces and runs one program inside, as root:
#
#   tools/systemd-sandbox.sh PROGRAM [ARGUMENT ...]
#
# Inside, the files of this machine are below an overlay in memory: units, users and state that are written there are
# deleted afterwards, and no service of this machine changes. The network is that of the machine. Needs root, overlayfs
# and cgroup2. Exit code: that of the program; 125 if systemd did not start.
set -euo pipefail
[[ $# -ge 1 ]] || { sed -n '4,8p' "$0" >&2; exit 2; }

stage=$(mktemp -d)
machine=
leave() {
    [[ -z $machine ]] || { kill -KILL "$machine" 2>/dev/null || true; wait "$machine" 2>/dev/null || true; }
    rm -f "$stage/console"
    rmdir "$stage/overlay" "$stage/machine" "$stage" 2>/dev/null || true
}
trap leave EXIT
mkdir "$stage/overlay" "$stage/machine"

boot() {
    mount --make-rprivate /
    mount -t tmpfs -o mode=0755 tmpfs "$1/overlay"
    mkdir "$1/overlay/changes" "$1/overlay/work"
    mount -t overlay -o "lowerdir=/,upperdir=$1/overlay/changes,workdir=$1/overlay/work" overlay "$1/machine"
    cd "$1/machine"
    mount -t proc proc proc
    mount -t sysfs sysfs sys
    mount -t cgroup2 cgroup2 sys/fs/cgroup
    mount -t tmpfs -o mode=0755 tmpfs run
    mount --rbind /dev dev
    mkdir -p etc/systemd/system etc/tmpfiles.d
    ln -sf /dev/null etc/systemd/system/tmp.mount  # /tmp is not changed
    ln -sf /dev/null etc/tmpfiles.d/tmp.conf
    export container=sandbox
    # Not chroot: the kernel refuses user namespaces (PrivateUsers=) in a chroot.
    pivot_root . .
    umount --lazy .
    # In a container systemd leaves mounts private, and the credentials that it mounts for a service would not reach it.
    mount --make-rshared /
    exec /lib/systemd/systemd --system --unit=basic.target --log-target=journal
}
export -f boot
unshare --mount --pid --cgroup --fork --kill-child bash -c 'set -eu; boot "$1"' boot "$stage" >"$stage/console" 2>&1 &
machine=$!

within() { nsenter --target "$first" --mount --pid --cgroup --root --wdns=/ -- "$@"; }
for ((try = 0; try < 150; try++)); do
    first=$(pgrep --parent "$machine" | head -n 1 || true)
    if [[ -n $first ]] && within systemctl is-system-running 2>/dev/null | grep -Eq '^(running|degraded)$'; then
        within "$@"
        exit
    fi
    sleep 0.1
done
echo "systemd-sandbox: systemd did not start:" >&2
cat "$stage/console" >&2
exit 125
