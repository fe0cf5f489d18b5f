#!/usr/bin/env bash
# What happens to the two services inside a booted systemd; each line with "==" begins what the test looks at.
set -euo pipefail
source=$1 configs=$2 python=$3 prefix=$4 password=$5 watchdog=$6

install -D -m 644 "$source/systemd/daq.sysusers.conf" /etc/sysusers.d/daq.conf
systemd-sysusers
install -d /etc/daq
install -m 644 "$configs/station.toml" "$configs/bridge.toml" /etc/daq/
cp "$source"/systemd/daq.service "$source"/systemd/daq-bridge.service /etc/systemd/system/

drop_in() { install -D -m 644 /dev/stdin "/etc/systemd/system/$1.service.d/$2.conf"; }
for unit in daq daq-bridge; do
    # The program under test lies in the source tree and not in /opt/daq.
    command=$([[ $unit = daq ]] && echo "run /etc/daq/station.toml" || echo "bridge /etc/daq/bridge.toml")
    drop_in $unit test <<CONF
[Service]
ExecStart=
ExecStart=$python -m daq $command
ProtectHome=tmpfs
BindReadOnlyPaths=$source $prefix
Environment=PYTHONDONTWRITEBYTECODE=1
CONF
done
# The same secret in both ways that the guide knows: a plain file, an encrypted one. No influxdb-token: none is asked for.
install -d -m 700 /etc/credstore /etc/credstore.encrypted
(umask 077 && printf '%s' "$password" >/etc/credstore/mqtt-password)
printf '%s' "$password" | systemd-creds encrypt --name=mqtt-password - /etc/credstore.encrypted/mqtt-password
printf '[Service]\nLoadCredentialEncrypted=mqtt-password\n' | drop_in daq-bridge encrypted
# Same unit, but its program always fails at once.
cp "$source/systemd/daq-bridge.service" /etc/systemd/system/crash.service
printf '[Service]\nExecStart=\nExecStart=/bin/false\n' | drop_in crash test
systemctl daemon-reload

active() { for _ in $(seq 100); do [[ $(systemctl is-active "$1") = active ]] && return; sleep 0.1; done; journalctl -u "$1" -o cat; return 1; }

systemctl start daq-bridge daq || { journalctl -o cat --no-pager -n 40; exit 1; }
systemctl start --no-block crash
echo "== ready"
systemctl show daq daq-bridge -p Id,ActiveState,SubState,NotifyAccess
echo "== credentials"
ls /run/credentials/daq.service /run/credentials/daq-bridge.service
sleep 4
echo "== status"
systemctl show daq -p StatusText
echo "== killed"
systemctl kill --kill-whom=main -s KILL daq
sleep 1.5
active daq
systemctl show daq -p NRestarts,ActiveState
sleep 3
echo "== bridge killed"
systemctl kill --kill-whom=main -s KILL daq-bridge
sleep 1.5
active daq-bridge
systemctl show daq-bridge -p NRestarts,ActiveState
echo "== reloaded"
sed -i 's/period = "200 ms"/period = "250 ms"/' /etc/daq/station.toml
systemctl reload daq
sleep 1
sed -i 's/driver = "mt-sics"/driver = "mt-siks"/' /etc/daq/station.toml
systemctl reload daq
sleep 1
sed -i 's/driver = "mt-siks"/driver = "mt-sics"/' /etc/daq/station.toml
systemctl show daq -p NRestarts,ActiveState
journalctl -u daq -o cat --no-pager | grep "reload:"
echo "== stopped"
systemctl stop daq
systemctl show daq -p ActiveState,Result
echo "== wrong config"
sed -i 's/driver = "mt-sics"/driver = "mt-siks"/' /etc/daq/station.toml
systemctl start daq || true
sleep 2.5
systemctl show daq -p ActiveState,Result,ExecMainStatus,NRestarts
journalctl -u daq -p crit -o cat --no-pager
echo "== hung"
sed -i 's/driver = "mt-siks"/driver = "mt-sics"/' /etc/daq/station.toml
printf '[Service]\nWatchdogSec=%s\n' "$watchdog" | drop_in daq watchdog
systemctl daemon-reload
systemctl reset-failed daq
systemctl start daq
sleep 2
kill -STOP "$(systemctl show daq -p MainPID --value)"
stopped=$(date +%s%N)
until [[ $(systemctl show daq -p NRestarts,ActiveState --value | xargs) = "1 active" ]]; do sleep 0.1; done
echo "hung $stopped $(date +%s%N)"
systemctl show daq -p NRestarts,ActiveState
sleep 2
systemctl stop daq  # first, so that the bridge still stores what it has left
systemctl stop daq-bridge
echo "== ledger"
cat /var/lib/daq/spool.sqlite.ledger.json
echo
echo "== crashing"
systemctl show crash -p NRestarts,ActiveState,Result
