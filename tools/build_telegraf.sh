#!/usr/bin/env bash
# Builds Telegraf with the plugins that the comparison needs into the cache folder; needed once, about a minute.
set -euo pipefail

version=v1.39.0
tags=custom,inputs.modbus,inputs.mqtt_consumer,outputs.mqtt,outputs.influxdb_v2,parsers.influx,serializers.influx
cache=${DAQ_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/daq}

command -v go >/dev/null || {
    [[ -x $cache/bin/telegraf ]] && exit 0
    echo "daq: the comparison with Telegraf is left out: building it needs Go" >&2
    exit 3
}
[[ $(go version -m "$cache/bin/telegraf" 2>/dev/null) == *$'\tgithub.com/influxdata/telegraf\t'"$version"* ]] && exit 0
echo "daq: building Telegraf $version into $cache/bin …" >&2
mkdir -p "$cache/bin"
GOBIN=$cache/bin go install -tags "$tags" "github.com/influxdata/telegraf/cmd/telegraf@$version"
