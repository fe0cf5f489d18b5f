"""A lab file is checked as a whole; what it serves is reached by the libraries that real instruments are read with."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
import pyvisa
import serial
from pymodbus import FramerType
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient

from simulators.lab import Lab, LabError

SHIPPED = Path(__file__).parents[3] / "configs" / "lab.simulated.toml"
BALANCE = {"simulator": "mt-sics", "serve": "tcp", "serial": "SIM1"}
PROBE = {"simulator": "vaisala-hmp", "serve": "modbus-rtu", "unit": 240, "bus": "rs485", "line": "19200 8N2"}
VESSEL = {"simulator": "keller-33x", "serve": "modbus-rtu", "unit": 1, "bus": "rs485", "line": "19200 8N2"}


def lab(folder: Path, **instruments: Any) -> Lab:
    return Lab({"instruments": instruments}, pty_folder=folder)


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({}, "[instruments]: missing"),
        ({"a": 5}, "[instruments.a] is no table"),
        ({"a": BALANCE | {"simulator": "mtsics"}}, "simulator: 'mtsics' is none; known are digiquartz"),
        ({"a": BALANCE | {"simulator": ["mt-sics"]}}, "simulator: ['mt-sics'] is none"),
        ({"a": BALANCE | {"serve": "modbus-tcp"}}, "no way for mt-sics; use pty, tcp, hislip"),
        ({"a": BALANCE | {"serial": "B123"}}, 'serial: must begin with "SIM"'),
        ({"a": BALANCE | {"listen": "127.0.0.1:99999"}}, "listen: '127.0.0.1:99999' is no"),
        ({"a": BALANCE | {"line": "0 8N1"}}, "line: '0 8N1' is no line setting"),
        ({"a": BALANCE | {"baud": 9600}}, "baud: unknown; known are bus, driver_options"),
        ({"a": BALANCE | {"options": {"load": 1}}}, "unknown load; known are load_g"),
        ({"a": BALANCE | {"options": {"load_g": "heavy"}}}, "load_g = 'heavy' is not a number"),
        ({"a": BALANCE | {"options": 5}}, "options: is no table"),
        ({"a": BALANCE | {"faults": {"lazy": 1}}}, "faults: unknown fault lazy; known are bit7, cut"),
        ({"a": BALANCE | {"faults": {"late": 2}}}, "late = 2 is no share from 0 to 1"),
        ({"a": BALANCE | {"faults": {"late": 0.6, "lost": 0.6}}}, "more than 1 together"),
        ({"a": BALANCE | {"faults": {"late_s": "x"}}}, "late_s = 'x' is no time"),
        ({"a": BALANCE | {"faults": {"unplug": [5]}}}, "write [[start, length], …]"),
        ({"a": BALANCE | {"faults": 5}}, "faults: is no table"),
        ({"a": BALANCE | {"period": 5}}, "period: 5 is no text"),
        ({"a": BALANCE | {"bus": "x"}, "b": BALANCE | {"bus": "x"}}, "only Modbus units share a bus"),
        ({"a": PROBE, "b": VESSEL | {"unit": 240}}, "[instruments.b] unit: 240 is taken on bus rs485"),
        ({"a": PROBE, "b": VESSEL | {"line": "9600 8N1"}}, "write '19200 8N2' for both"),
        ({"a": PROBE, "b": VESSEL | {"serve": "rtu-tcp"}}, "write 'modbus-rtu' for both"),
        ({"a": PROBE | {"unit": True}}, "unit: a Modbus unit from 1 to 247"),
        ({"a": PROBE | {"bus": "../x"}}, "bus: '../x' is no name"),
        ({"a b": BALANCE}, "the name may have"),
    ],
)
def test_mistakes_say_where_and_what_would_be_right(tmp_path: Path, tables: dict[str, Any], words: str) -> None:
    with pytest.raises(LabError) as caught:
        lab(tmp_path, **tables)
    assert words in str(caught.value)


def test_all_mistakes_come_at_once_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "lab.toml"
    path.write_text(
        'colour = 1\n[instruments.a]\nsimulator = "x"\nperiod = 5\n[instruments.b]\nsimulator = "keller-33x"\n'
    )
    with pytest.raises(LabError) as caught:
        Lab.from_file(path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 5
    assert all(line.startswith(f"{path}: ") for line in lines)
    path.write_text("no toml")
    with pytest.raises(LabError, match=re.escape(str(path))):
        Lab.from_file(path)


async def ask(address: str, request: bytes) -> bytes:
    host, port = address.removeprefix("tcp://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    reply = await asyncio.wait_for(reader.readuntil(b"\r"), 3.0)
    writer.close()
    await writer.wait_closed()
    return reply


def ask_serial(path: str, baud: int, request: bytes, end: bytes = b"\n") -> tuple[bytes, float]:
    with serial.Serial(path, baud, timeout=3.0) as port:
        port.reset_input_buffer()
        began = time.monotonic()
        port.write(request)
        return port.read_until(end), time.monotonic() - began


def greeting(path: str) -> bytes:
    """Read what waits in the terminal; pyserial would throw it away when it opens."""
    port = os.open(path, os.O_RDONLY | os.O_NOCTTY)
    heard = b""
    try:
        while not heard.endswith(b"\n"):
            heard += os.read(port, 64)
    finally:
        os.close(port)
    return heard


def ask_visa(name: str) -> list[str]:
    manager = pyvisa.ResourceManager("@py")
    meter = manager.open_resource(name, open_timeout=2000)
    assert isinstance(meter, pyvisa.resources.MessageBasedResource)
    meter.timeout = 3000
    try:
        return [meter.query("*IDN?"), meter.query("READ?;:FUNC?")]
    finally:
        meter.close()


async def test_shipped_lab_answers_serial_sockets_visa_and_modbus(tmp_path: Path) -> None:
    truth = tmp_path / "truth.jsonl"
    async with Lab.from_file(SHIPPED, truth=truth, pty_folder=tmp_path) as made:
        at = {name: one.address for name, one in made.listening.items()}
        assert await asyncio.to_thread(greeting, at["balance-1"]) == b'I4 A "SIM0000001"\r\n'
        weight, _ = await asyncio.to_thread(ask_serial, at["balance-1"], 9600, b"SI\r\n")
        assert weight.startswith(b"S S   ")
        assert await ask(at["balance-2"], b"\x1bx2_\r\n") == b"SIM0000002\r"
        identity, reading = await asyncio.to_thread(ask_visa, at["bath-1"])
        assert identity.split(",")[2] == "SIM0000003"
        assert reading.endswith('"FRES"\n')
        assert b"millisKanner" in await ask(at["bath-2"], b"mill:list?\r")
        pressure, took = await asyncio.to_thread(ask_serial, at["barometer-1"], 9600, b"*0100P3\r\n")
        assert pressure.startswith(b"*0001100")
        assert 1.364 <= took < 2.0
        bus = AsyncModbusSerialClient(at["room-2"], framer=FramerType.RTU, baudrate=19200, stopbits=2, retries=0)
        assert await bus.connect()
        humidity = await bus.read_holding_registers(0, count=4, device_id=240)
        vessel = await bus.read_holding_registers(0x0100, count=4, device_id=1)
        bus.close()
    percent = bus.convert_from_registers(humidity.registers[:2], bus.DATATYPE.FLOAT32, word_order="little")
    bar = bus.convert_from_registers(vessel.registers[:2], bus.DATATYPE.FLOAT32, word_order="big")
    told = {row["instrument"]: row["values"] for row in map(json.loads, truth.read_text().splitlines())}
    assert percent == pytest.approx(float(told["room-2"]["humidity"]), rel=1e-6)
    assert bar == pytest.approx(float(told["vessel-1"]["pressure"]), rel=1e-6)
    assert reading.startswith(told["bath-1"]["resistance"])
    assert told["balance-1"]["mass"].encode() in weight


async def test_modbus_tcp_and_rtu_over_tcp(tmp_path: Path) -> None:
    tables = {"a": VESSEL | {"serve": "modbus-tcp", "bus": "a"}, "b": VESSEL | {"serve": "rtu-tcp", "bus": "b"}}
    async with lab(tmp_path, **tables) as made:
        for name, framer in (("a", FramerType.SOCKET), ("b", FramerType.RTU)):
            host, port = made.listening[name].address.rpartition("//")[2].split(":")
            client = AsyncModbusTcpClient(host, port=int(port), framer=framer, retries=0)
            assert await client.connect()
            read = await client.read_holding_registers(2, count=2, device_id=1)
            beyond = await client.read_holding_registers(0x0300, count=2, device_id=1)
            client.close()
            assert client.convert_from_registers(read.registers, client.DATATYPE.FLOAT32) == pytest.approx(
                0.97, abs=0.02
            )
            assert beyond.exception_code == 2


async def test_serial_line_takes_its_time_and_is_opened_again(tmp_path: Path) -> None:
    async with lab(tmp_path, a=BALANCE | {"simulator": "sartorius-sbi", "serve": "pty", "line": "1200 7O1"}) as made:
        for _ in range(2):
            reply, took = await asyncio.to_thread(ask_serial, made.listening["a"].address, 1200, b"\x1bx2_\r\n")
            assert reply == b"SIM1\r\n"
            # 6 characters there and 6 back, of 10 bits each.
            assert 12 * 10 / 1200 <= took < 0.3


@pytest.mark.parametrize("length", [0.1, 0.4])
async def test_unplugged_line_forgets_its_answer_and_lives_again(tmp_path: Path, length: float) -> None:
    """The answer is due while the line is away, or just after it is back."""
    barometer = {"simulator": "digiquartz", "serve": "pty", "serial": "SIM1", "line": "115200 8N1"}
    table = barometer | {"options": {"integration_s": 0.5}, "faults": {"unplug": [[0.3, length]]}}
    async with lab(tmp_path, a=table) as made:
        path = made.listening["a"].address
        with serial.Serial(path, 115200, timeout=1.0) as port:
            port.write(b"*0100P3\r\n")
            with pytest.raises(serial.SerialException):
                await asyncio.to_thread(port.read, 1)
        while not Path(path).exists():
            await asyncio.sleep(0.01)
        reply, _ = await asyncio.to_thread(ask_serial, path, 115200, b"*0100P3\r\n*0100SN\r\n")
        assert reply == b"*0001SN=SIM1\r\n"


async def test_unplugged_port_comes_back_where_it_was(tmp_path: Path) -> None:
    async with lab(tmp_path, a=BALANCE | {"faults": {"unplug": [[0.3, 0.5]]}}) as made:
        address = made.listening["a"].address
        host, port = address.removeprefix("tcp://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        assert await _ended(reader)
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await ask(address, b"I4\r\n")
        await asyncio.sleep(0.6)
        assert await ask(address, b"I4\r\n") == b'I4 A "SIM1"\r'


async def _ended(reader: asyncio.StreamReader) -> bool:
    try:
        return await asyncio.wait_for(reader.read(1), 1.0) == b""
    except ConnectionResetError:
        return True


async def test_station_table_is_what_the_station_needs(tmp_path: Path) -> None:
    async with lab(tmp_path, a=BALANCE, b=PROBE, c=VESSEL) as made:
        tables = tomllib.loads("\n".join(one.station_table() for one in made.listening.values()))["instruments"]
        assert tables["a"] == {
            "driver": "mt-sics",
            "address": made.listening["a"].address,
            "period": "1 s",
            "serial": "SIM1",
            "simulated": True,
        }
        assert tables["b"]["identified"] is False
        assert (tables["b"]["unit"], tables["c"]["unit"]) == (240, 1)
        assert tables["b"]["address"] == tables["c"]["address"] == str(tmp_path / "rs485")
        assert tables["b"]["line"] == "19200 8N2"
