#!/usr/bin/env bash
# What happens to the two services inside a booted systemd; each line with "==" begins what the test looks at.
set -euo pipefail
source=$1 configs=$2 python=$3 prefix=$4

useradd --system --no-create-home --shell /usr/sbin/nologin daq
install -d /etc/daq
install -m 644 "$configs/station.toml" "$configs/bridge.toml" /etc/daq/
cp "$source"/systemd/daq.service "$source"/systemd/daq-bridge.service /etc/systemd/system/
for unit in daq daq-bridge; do
    # The program under test lies in the source tree and not in /opt/daq. systemd 252 hands an empty credentials folder to
    # services inside these namespaces, so they are left out here; broker and database ask for none.
    mkdir -p "/etc/systemd/system/$unit.service.d"
    command=$([[ $unit = daq ]] && echo "run /etc/daq/station.toml" || echo "bridge /etc/daq/bridge.toml")
    cat >"/etc/systemd/system/$unit.service.d/test.conf" <<CONF
[Service]
ExecStart=
ExecStart=$python -m daq $command
LoadCredential=
ProtectHome=tmpfs
BindReadOnlyPaths=$source $prefix
Environment=PYTHONDONTWRITEBYTECODE=1
CONF
done
systemctl daemon-reload

active() { for _ in $(seq 100); do [[ $(systemctl is-active "$1") = active ]] && return; sleep 0.1; done; journalctl -u "$1" -o cat; return 1; }

systemctl start daq-bridge daq || { journalctl -o cat --no-pager -n 40; exit 1; }
echo "== ready"
systemctl show daq daq-bridge -p Id,ActiveState,SubState,NotifyAccess
sleep 4
echo "== status"
systemctl show daq -p StatusText
echo "== killed"
systemctl kill -s KILL daq
sleep 1.5
active daq
systemctl show daq -p NRestarts,ActiveState
sleep 3
echo "== stopped"
systemctl stop daq
systemctl show daq -p ActiveState,Result
echo "== ledger"
cat /var/lib/daq/ledger.json
echo
echo "== wrong config"
sed -i 's/driver = "mt-sics"/driver = "mt-siks"/' /etc/daq/station.toml
systemctl start daq || true
sleep 2.5
systemctl show daq -p ActiveState,Result,ExecMainStatus,NRestarts
journalctl -u daq -p crit -o cat --no-pager
echo "== hung"
sed -i 's/driver = "mt-siks"/driver = "mt-sics"/' /etc/daq/station.toml
mkdir -p /etc/systemd/system/daq.service.d
printf '[Service]\nWatchdogSec=3\n' >/etc/systemd/system/daq.service.d/watchdog.conf
systemctl daemon-reload
systemctl reset-failed daq
systemctl start daq
kill -STOP "$(systemctl show daq -p MainPID --value)"
sleep 7
active daq
systemctl show daq -p NRestarts,ActiveState
systemctl stop daq daq-bridge
