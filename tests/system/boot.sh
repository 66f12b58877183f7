#!/bin/bash
# Boots a systemd of its own. Run by tests/system/conftest.py as PID 1 of fresh mount, PID, UTS, IPC and network
# namespaces; nothing that is mounted or written here is seen outside.
#
#   boot.sh STAGE CGROUP KEEP...
#
# STAGE has units/, etc/ and bin/, copied over /run/units, /etc and /usr/local/bin; CGROUP names a control group to make;
# KEEP are directories that must stay visible wherever they are.
set -eu
stage=$1 cgroup=$2
shift 2

mount --make-rprivate /
ip link set lo up
ip link set lo multicast on

# What is kept is held elsewhere, since it may lie below what is hidden next.
mkdir -p "$stage/held"
number=0
for path in "$stage" "$@"; do
    number=$((number + 1))
    mkdir -p "$stage/held/$number"
    mount --bind "$path" "$stage/held/$number"
done
held=$stage/held
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/held
mount --rbind "$held" /run/held
for empty in /tmp /var/tmp /var/lib /var/log /root /home; do
    mount -t tmpfs -o mode=755 tmpfs "$empty"
done
chmod 1777 /tmp /var/tmp
number=1
for path in "$@"; do
    number=$((number + 1))
    [ -e "$path" ] || { mkdir -p "$path" && mount --bind "/run/held/$number" "$path"; }
done
cp -a /run/held/1/units /run/units

# Copies to write to, in the place of what the machine has.
for place in /etc /usr/local/bin; do
    copy=/run/copy$place
    mkdir -p "$copy"
    cp -a "$place/." "$copy/"
    cp -a "/run/held/1/$(basename "$place")/." "$copy/"
    mount --bind "$copy" "$place"
done
rm -f /etc/machine-id
echo 0123456789abcdef0123456789abcdef >/etc/machine-id

# A control group of its own is the root of all that this systemd sees.
mkdir /run/cgroup
mount -t cgroup2 cgroup2 /run/cgroup
mkdir "/run/cgroup/$cgroup"
echo $$ >"/run/cgroup/$cgroup/cgroup.procs"
exec unshare --cgroup /bin/bash -euc '
    umount /run/cgroup
    umount --recursive /sys/fs/cgroup 2>/dev/null || true
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    for systemd in /usr/lib/systemd/systemd /lib/systemd/systemd; do
        [ ! -x "$systemd" ] || exec env --ignore-environment PATH="$PATH" container=peerd-test \
            SYSTEMD_UNIT_PATH=/run/units SYSTEMD_GENERATOR_PATH=/nonexistent SYSTEMD_LOG_TARGET=journal \
            "$systemd" --system --unit=boot.target --show-status=no
    done
'
