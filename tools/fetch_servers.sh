#!/usr/bin/env bash
# Unpacks mosquitto, InfluxDB 1.x, VictoriaMetrics and libfaketime from Debian's packages into the cache folder.
#
# Installing the packages would need root and would start services on this PC; after unpacking, nothing is started.
# Runs as any user, changes nothing outside the cache folder, and does nothing if the servers are there already.
set -euo pipefail

cache=${DAQ_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/daq}
packages=(mosquitto libwebsockets17 libcjson1 libdlt2 libwrap0 libnsl2 libtirpc3 libtirpc-common libev4 libuv1 influxdb victoria-metrics libfaketime)

say() { echo "daq: $*" >&2; }
on_path() { PATH="$PATH:/usr/sbin:/usr/local/sbin" command -v "$1" >/dev/null; }

mkdir -p "$cache/bin"
exec 9>"$cache/.fetch-lock"
flock 9
[[ -x $cache/bin/mosquitto && -x $cache/bin/influxd1 && -x $cache/bin/victoria-metrics ]] &&
    compgen -G "$cache/debian/usr/lib/*/faketime/libfaketimeMT.so.1" >/dev/null && exit 0
if on_path mosquitto && on_path influxd && on_path victoria-metrics; then exit 0; fi
if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
    say "this is not Debian: install mosquitto (and InfluxDB) yourself; without them the demo uses amqtt and an archive file"
    exit 0
fi

say "fetching mosquitto, InfluxDB 1.x, VictoriaMetrics and libfaketime from Debian into $cache …"
work=$(mktemp -d "$cache/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/apt/archives/partial" "$work/debs" "$work/root"
private_apt() {
    apt-get -qq -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/apt" -o Debug::NoLocking=1 \
        -o APT::Sandbox::User="$(id -un)" "$@" >"$work/log" 2>&1 || {
        say "apt-get $1 failed:"
        cat "$work/log" >&2
        exit 1
    }
}
private_apt update -o "Dir::Cache::pkgcache=" -o "Dir::Cache::srcpkgcache="
cd "$work/debs"
private_apt download "${packages[@]}"
for package in *.deb; do dpkg -x "$package" "$work/root"; done
# Programs that run from the old folder keep their open files; only between the two renames no program can be started.
[[ ! -e $cache/debian ]] || mv "$cache/debian" "$work/old"
mv "$work/root" "$cache/debian"

libraries=$(find "$cache/debian" -name 'lib*.so*' -printf '%h\n' | sort -u | paste -sd:)
wrap() { # NAME PROGRAM
    printf '#!/bin/sh\nexport LD_LIBRARY_PATH="%s${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"\nexec "%s" "$@"\n' "$libraries" "$cache/debian/$2" \
        >"$cache/bin/$1.new"
    chmod +x "$cache/bin/$1.new"
    mv "$cache/bin/$1.new" "$cache/bin/$1"
}
wrap mosquitto usr/sbin/mosquitto
wrap influxd1 usr/bin/influxd
wrap victoria-metrics usr/bin/victoria-metrics
say "servers are in $cache/bin"
