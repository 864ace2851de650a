#!/bin/sh
# Boots the Debian system in the folder $1 with its own systemd, in namespaces of its own and without a network, until it
# powers itself off. Control groups are below the group $2.
set -e
mkdir -p "$2"
echo $$ > "$2/cgroup.procs"
exec unshare --mount --pid --fork --cgroup --ipc --uts --net --kill-child sh -ec '
cd "$1"
mount --make-rprivate /
mount --bind . .
cd "$1"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do
    touch dev/$device
    mount --bind /dev/$device dev/$device
done
mkdir dev/pts dev/shm .old
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs tmpfs dev/shm
pivot_root . .old
umount -l .old
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --show-status=0 < /dev/null
' sh "$1"
