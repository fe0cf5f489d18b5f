// Builds the InfluxDB 2 server that the system tests store into; see tools/build_influxdb2.sh.
module daq/influxdb2

go 1.24

require github.com/influxdata/influxdb/v2 v2.9.1

// The two replacements of that module's own go.mod: a replacement counts in the main module only.
replace github.com/nats-io/nats-streaming-server v0.11.2 => github.com/influxdata/nats-streaming-server v0.11.3-0.20201112040610-c277f7560803

replace google.golang.org/protobuf v1.30.0 => google.golang.org/protobuf v1.33.0
