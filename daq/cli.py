"""The command `daq`: its subcommands and their options, with an example each; the work is done in `daq.commands`."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Read the instruments of a laboratory into InfluxDB over MQTT: nothing lost, nothing invented.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong use, 78 a mistake in a config.",
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Log = Annotated[
    Literal["auto", "human", "journal", "json"], typer.Option(help="Form of the log lines on standard error.")
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")]
Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="Config file, see configs/station.example.toml.")]
StationFile = Annotated[Path, typer.Option("--config", help="Config of the station.")]
From = Annotated[str | None, typer.Option("--from", help="From this UTC time on, as in 2026-11-24T08:00.")]
To = Annotated[str | None, typer.Option("--to", help="Up to, not including, this UTC time.")]
INSTALLED = Path("/etc/daq/station.toml")


@app.command(epilog="Example: daq run /etc/daq/station.toml")
def run(config: Config, log: Log = "auto", verbose: Verbose = False) -> None:
    """Read the instruments of a station until SIGTERM or Ctrl-C."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the station can reload; what is imported next takes a while
    from daq.commands.services import run_station_command

    run_station_command(config, log, verbose=verbose)


@app.command(epilog="Example: daq bridge /etc/daq/bridge.toml")
def bridge(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="Config file, see configs/bridge.example.toml.")],
    log: Log = "auto",
    verbose: Verbose = False,
) -> None:
    """Store what arrives over MQTT in InfluxDB, or in an archive file, until SIGTERM or Ctrl-C."""
    from daq.commands.services import run_bridge_command

    run_bridge_command(config, log, verbose=verbose)


@app.command(epilog="Example: make demo, or daq demo --seconds 10 --json")
def demo(
    seconds: Annotated[
        float | None, typer.Option(help="End after this time and print how many readings were stored.")
    ] = None,
    as_json: Json = False,
    influx: Annotated[str | None, typer.Option(help="URL of an InfluxDB to use; token in DAQ_INFLUXDB_TOKEN.")] = None,
    database: Annotated[str, typer.Option(help="Bucket or database of --influx.")] = "daq",
    org: Annotated[str, typer.Option(help="Organisation of --influx.")] = "",
    lab: Annotated[Path | None, typer.Option(help="Lab file; default: the eight instruments.")] = None,
    keep: Annotated[Path | None, typer.Option(help="Keep all files in this folder.")] = None,
) -> None:
    """Run the whole road on this machine: simulated lab, broker, station, bridge and database."""
    from daq.demo.whole_lab import DemoOptions, run_demo

    raise typer.Exit(run_demo(DemoOptions(seconds, as_json, influx, database, org, lab, keep)))


@app.command(epilog="Example: daq simulate configs/lab.simulated.toml --station station.toml")
def simulate(
    lab: Annotated[Path, typer.Argument(metavar="LAB", help="Lab file, see configs/lab.simulated.toml.")],
    truth: Annotated[
        Path | None, typer.Option(help="Write what was really sent to this file, one JSON object per line.")
    ] = None,
    station: Annotated[Path | None, typer.Option(help="Write the config of a station that reads this lab.")] = None,
    ports: Annotated[Path, typer.Option(help="Folder for the simulated serial ports.")] = Path("ports"),
    as_json: Json = False,
) -> None:
    """Simulate a laboratory on serial and TCP ports and print the address of each instrument, until Ctrl-C."""
    from daq.commands.simulate import simulate_command

    simulate_command(lab, truth, station, ports, as_json=as_json)


@app.command(epilog="Example: daq check /etc/daq/station.toml")
def check(
    configs: Annotated[list[Path], typer.Argument(metavar="CONFIG...", help="Config files of stations or bridges.")],
    as_json: Json = False,
) -> None:
    """Check config files in full, without opening anything; exit 78 where one has a mistake."""
    from daq.commands.check import check_command

    check_command(configs, as_json=as_json)


@app.command(epilog="Example: daq drivers mt-sics")
def drivers(
    name: Annotated[str | None, typer.Argument(help="One driver, with its options.")] = None,
    as_json: Json = False,
) -> None:
    """List the instruments that can be read."""
    from daq.commands.drivers import drivers_command

    drivers_command(name, as_json=as_json)


@app.command(epilog="Example: daq read balance-1 --config /etc/daq/station.toml --raw")
def read(
    instrument: Annotated[str, typer.Argument(help="Name of the instrument in the config.")],
    config: StationFile = INSTALLED,
    raw: Annotated[bool, typer.Option("--raw", help="Show the bytes of the answer.")] = False,
    as_json: Json = False,
) -> None:
    """Take one reading now and show it; nothing is stored."""
    from daq.commands.read import read_command

    read_command(instrument, config, raw=raw, as_json=as_json)


@app.command(epilog="Example: daq status --config /etc/daq/station.toml")
def status(
    config: StationFile = INSTALLED,
    as_json: Json = False,
    as_metrics: Annotated[bool, typer.Option("--metrics", help="Write it as OpenMetrics text.")] = False,
) -> None:
    """Show the status of a running station; exit 1 where it is offline or silent."""
    from daq.commands.status import status_command

    status_command(config, as_json=as_json, as_metrics=as_metrics)


@app.command(epilog="Example: daq verify --bridge /etc/daq/bridge.toml --from 2026-11-23")
def verify(
    config: StationFile = INSTALLED,
    bridge: Annotated[Path | None, typer.Option(help="Config of a bridge: compare with its database, too.")] = None,
    start: From = None,
    end: To = None,
    as_json: Json = False,
) -> None:
    """Check a station's file against its hash chain, and the database against the file; exit 1 where they differ."""
    from daq.commands.verify import verify_command

    verify_command(config, bridge, (start, end), as_json=as_json)


@app.command(epilog="Example: daq replay --from 2026-11-01 --to 2026-11-24")
def replay(
    config: StationFile = INSTALLED,
    start: From = None,
    end: To = None,
    wait: Annotated[bool, typer.Option(help="Wait until the database has it.")] = True,
    as_json: Json = False,
) -> None:
    """Send what a station keeps again, to refill a database; what is there already stays as it is."""
    from daq.commands.replay import replay_command

    replay_command(config, (start, end), wait=wait, as_json=as_json)


@app.command(epilog="Example: daq quarantine --send all")
def quarantine(
    config: StationFile = INSTALLED,
    show: Annotated[int | None, typer.Option(metavar="NUMBER", help="Show this record in full.")] = None,
    send: Annotated[
        str | None, typer.Option(metavar="NUMBERS", help='Send again: "4711", "4711-4720" or "all".')
    ] = None,
    as_json: Json = False,
) -> None:
    """List the records that the database rejected or the disk damaged, with the reason."""
    from daq.commands.quarantine import quarantine_command

    quarantine_command(config, show, send, as_json=as_json)


@app.command(name="reload", epilog="Example: daq reload --config /etc/daq/station.toml")
def reload_config(config: StationFile = INSTALLED, as_json: Json = False) -> None:
    """Make a running station apply its changed config; unchanged instruments are read without a pause."""
    from daq.commands.reload import reload_command

    reload_command(config, as_json=as_json)


@app.command(epilog="Example: daq schema station > station.schema.json")
def schema(
    kind: Annotated[Literal["station", "bridge"], typer.Argument(help="Which config.")] = "station",
) -> None:
    """Print the JSON Schema of a config file, for editors that check TOML."""
    from daq.commands.schema import schema_command

    schema_command(kind)


@app.command(epilog="Example: daq export --archive archive.sqlite --instrument balance-1 -o balance-1.csv")
def export(
    archive: Annotated[Path | None, typer.Option(help="Archive file of a bridge.")] = None,
    spool: Annotated[Path | None, typer.Option(help="Spool file of a stopped station: the rows that it keeps.")] = None,
    instrument: Annotated[str | None, typer.Option(help="This instrument only.")] = None,
    start: From = None,
    end: To = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File; default: standard output.")] = None,
) -> None:
    """Write readings as CSV: UTC stamps in nanoseconds, digits as sent, serial numbers, and doubts about them."""
    from daq.commands.export import export_command

    export_command(archive, spool, instrument, (start, end), output)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        from daq import __version__

        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command; a user's mistake ends with a message and an exit code, a programmer's with a traceback."""
    app()
