"""Which databases the system tests store into on this machine."""

from __future__ import annotations

import os

import pytest

from daq.demo.programs import find, find_influxdb


def needs(kind: str) -> None:
    """Skip where a server is not installed; where continuous integration requires it, fail instead."""
    present = {
        "archive": True,
        "influxdb1": find_influxdb(1) is not None,
        "influxdb2": find_influxdb(2) is not None,
        "victoriametrics": find("victoria-metrics") is not None,
    }[kind]
    if present:
        return
    if kind != "influxdb2" or os.environ.get("DAQ_REQUIRE_INFLUXDB2"):
        pytest.fail(f"{kind} is required here and missing: make servers, make influxdb2")
    pytest.skip("InfluxDB 2 is not built on this machine: make influxdb2 (7 minutes, needs Go and Rust)")
