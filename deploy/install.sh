#!/bin/sh
# Install or renew what the service needs outside its venv: user, folders, Ray's token, settings, units.
#
#   sudo deploy/install.sh            what is there stays: users' data, token, settings
#   sudo deploy/install.sh --remove   stops and removes the units; /srv/tuner and /etc/tuner stay
#   deploy/install.sh --root DIR      into DIR, without asking systemd or making the user (for images and tests)
set -eu

here=$(cd "$(dirname "$0")" && pwd)
units="tuner-ray.service tuner-serve.socket tuner-serve.service tuner-mps.service"
secrets="TUNER_DATABASE|TUNER_WEBHOOK|TUNER_NOTIFY_COMMAND"   # the service's own
root=
remove=
while [ $# -gt 0 ]; do
    case $1 in
        --root) root=${2:?--root needs a folder}; shift 2 ;;
        --remove) remove=yes; shift ;;
        *) sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
done
if [ -z "$root" ] && [ "$(id -u)" != 0 ]; then
    echo "Run it as root: sudo $0" >&2
    exit 1
fi

if [ -n "$remove" ]; then
    for unit in $units; do
        [ -n "$root" ] || systemctl disable --now "$unit" 2>/dev/null || true
        rm -f "$root/etc/systemd/system/$unit"
    done
    rm -f "$root/etc/sysusers.d/tuner.conf" "$root/etc/tmpfiles.d/tuner.conf"
    [ -n "$root" ] || systemctl daemon-reload
    echo "Removed the units. To remove the rest: rm -r /opt/tuner /etc/tuner /srv/tuner;" \
        "rm -f /etc/ssh/sshd_config.d/tuner-users.conf; userdel tuner; groupdel tuner-users"
    exit 0
fi

install -D -m 644 "$here/systemd/tuner.sysusers.conf" "$root/etc/sysusers.d/tuner.conf"
install -D -m 644 "$here/systemd/tuner.tmpfiles.conf" "$root/etc/tmpfiles.d/tuner.conf"
if [ -z "$root" ]; then
    systemd-sysusers /etc/sysusers.d/tuner.conf
    systemd-tmpfiles --create /etc/tmpfiles.d/tuner.conf
else
    install -d -m 750 "$root/etc/tuner"
fi

if [ ! -s "$root/etc/tuner/ray-token" ]; then
    (umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$root/etc/tuner/ray-token")
    echo "Made Ray's token: $root/etc/tuner/ray-token"
fi
[ -n "$root" ] || chgrp tuner /etc/tuner/ray-token
chmod 640 "$root/etc/tuner/ray-token"

# Settings are systemd's to read, before it gives up root: searches run as the service's user.
for part in ray serve; do
    [ -e "$root/etc/tuner/$part.env" ] ||
        install -m 600 "$here/systemd/$part.env.example" "$root/etc/tuner/$part.env"
    chmod 600 "$root/etc/tuner/$part.env"
done
if [ -e "$root/etc/tuner/tuner.env" ]; then   # of an earlier version: both in one
    grep -E "^($secrets)=" "$root/etc/tuner/tuner.env" >>"$root/etc/tuner/serve.env" || true
    grep -Ev "^($secrets)=|^#|^ *$" "$root/etc/tuner/tuner.env" >>"$root/etc/tuner/ray.env" || true
    rm "$root/etc/tuner/tuner.env"
    echo "Moved the settings of tuner.env into ray.env and serve.env."
fi

for unit in $units; do
    install -D -m 644 "$here/systemd/$unit" "$root/etc/systemd/system/$unit"
done
[ -n "$root" ] || systemctl daemon-reload
echo "Installed. To start now and at every boot: systemctl enable --now tuner-ray tuner-serve"
