#!/usr/bin/env bash
# Builds the InfluxDB 2 server from its Go module into the cache folder; needed once, about seven minutes on two cores.
set -euo pipefail

version=v2.9.1
here=$(cd "$(dirname "$0")/.." && pwd)
cache=${DAQ_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/daq}
work=$cache/influxdb2-build

say() { echo "daq: $*" >&2; }

built() { [[ -x $cache/bin/influxd && $("$cache/bin/influxd" version 2>&1) == *"$version"* ]]; }

built && exit 0
for tool in go cargo gcc; do
    command -v "$tool" >/dev/null || {
        say "InfluxDB 2 is left out: building it needs Go, Rust and a C compiler, and '$tool' is missing"
        exit 3
    }
done
mkdir -p "$cache/bin" "$work"
exec 9>"$work/.lock"
flock 9
built && exit 0 # another process built it while this one waited for the lock
say "building InfluxDB $version in $work (about 7 minutes) …"
cp "$here/tests/servers/influxdb2/go.mod" "$here/tests/servers/influxdb2/tools.go" "$work/"
cd "$work"
{
    go mod tidy
    GOBIN=$work go install github.com/influxdata/pkg-config@v0.3.0
    PKG_CONFIG=$work/pkg-config RUSTUP_TOOLCHAIN=stable go build -trimpath -ldflags "-s -w -X main.version=$version" \
        -o influxd.new github.com/influxdata/influxdb/v2/cmd/influxd
} >build.log 2>&1 || {
    tail -n 20 build.log >&2
    say "InfluxDB 2 could not be built; the whole log is $work/build.log"
    exit 1
}
mv influxd.new "$cache/bin/influxd"
say "InfluxDB $version is in $cache/bin"
