"""Lab files with many simulated instruments."""

from __future__ import annotations


def balances(count: int, period: str) -> str:
    """Give `count` balances on TCP."""
    return "\n".join(
        f"""[instruments.balance-{number}]
simulator = "mt-sics"
serve = "tcp"
serial = "SIM{number:07}"
period = "{period}"
options = {{ noise_g = 0.0 }}"""
        for number in range(count)
    )


SERIAL_LINE = """[instruments.balance]
simulator = "mt-sics"
serve = "pty"
line = "9600 8N1"
serial = "SIM0000001"
period = "continuous"
"""


def rtu_bus(units: int) -> str:
    """Give `units` probes on one RS-485 line of 19200 baud, each read as often as possible."""
    return "\n".join(
        f"""[instruments.probe-{number}]
simulator = "vaisala-hmp"
serve = "modbus-rtu"
bus = "rs485"
line = "19200 8N2"
unit = {number}
period = "continuous"
"""
        for number in range(1, units + 1)
    )
