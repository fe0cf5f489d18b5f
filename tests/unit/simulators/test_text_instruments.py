"""What the text instruments do beyond single answers: wait, stream, adjust themselves, keep settings."""

from __future__ import annotations

import pytest

from simulators.balances.mt_sics import MtSics
from simulators.balances.sartorius_sbi import SartoriusSbi
from simulators.climate.vaisala_ptu import VaisalaPtu
from simulators.instrument import Answer, TextSimulator
from simulators.physics import constant
from simulators.pressure.digiquartz import Digiquartz
from simulators.thermometers.milli_k import MilliK
from simulators.thermometers.scpi_dmm import ScpiDmm


def asked(simulator: TextSimulator, request: bytes, now: float = 0.0) -> Answer:
    answer = simulator.answer(request, now)
    assert answer is not None
    return answer


def said(simulator: TextSimulator, request: bytes, now: float = 0.0) -> bytes:
    return asked(simulator, request, now).reply


def test_balance_waits_for_stability_and_then_gives_the_weight_of_that_instant() -> None:
    balance = MtSics(load=lambda t: 100.0 + t, at_rest=lambda t: t >= 2.0, decimals=2)
    answer = asked(balance, b"S", 1.0)
    assert (answer.reply, answer.delay) == (b"S S     102.00 g\r\n", 1.0)
    never = asked(MtSics(at_rest=lambda _: False, patience=5.0), b"S")
    assert (never.reply, never.values, never.delay) == (b"S I\r\n", {"mass": None}, 5.0)


def test_balance_repeats_until_it_is_asked_for_something_else() -> None:
    balance = MtSics(decimals=2)
    assert said(balance, b"SIR") == b"S S     100.00 g\r\n"
    assert balance.every == pytest.approx(1 / 15)
    assert balance.unasked(1.0).reply == b"S S     100.00 g\r\n"
    for stop in (b"S", b"SI", b"@"):
        said(balance, b"SIR")
        assert asked(balance, stop).cancels
        assert balance.every == 0.0


def test_balance_adjusts_itself_in_two_answers() -> None:
    balance = MtSics(decimals=2)
    answer = asked(balance, b"C3", 10.0)
    assert answer.reply == b"C3 B\r\n"
    assert answer.then == Answer(b"C3 A\r\n", delay=30.0)
    assert said(balance, b"SI", 39.0) == b"S I\r\n"
    assert said(balance, b"C3", 39.0) == b"C3 I\r\n"
    assert said(balance, b"SI", 40.0) == b"S S     100.00 g\r\n"


def test_balance_with_a_fault_says_so_in_the_place_of_every_weight() -> None:
    balance = MtSics(decimals=2)
    balance.change("error", "10b")
    assert asked(balance, b"SI") == Answer(b"S S  Error 10b\r\n", {"mass": None}, cancels=True)
    assert said(balance, b"S") == balance.unasked(0.0).reply == b"S S  Error 10b\r\n"
    assert said(balance, b"I4").startswith(b"I4 A ")
    balance.change("error", "none")
    assert said(balance, b"SI") == b"S S     100.00 g\r\n"


@pytest.mark.parametrize(("request_", "reply"), [(b"si", b"ES\r\n"), (b"X", b"ES\r\n"), (b"SI 5", b"EL\r\n")])
def test_balance_refuses(request_: bytes, reply: bytes) -> None:
    assert said(MtSics(), request_) == reply
    assert MtSics().answer(b"", 0.0) is None


def test_sartorius_prints_one_line_or_starts_and_stops_a_stream() -> None:
    assert SartoriusSbi().answer(b"\x1bP", 0.0) is not None
    balance = SartoriusSbi(autoprint=True, every=0.1, wide=False, decimals=2)
    assert balance.unasked(0.0).reply == b"+   100.00 g  \r\n"
    assert len(balance.unasked(0.0).reply) == 16
    assert balance.answer(b"\x1bN", 0.0) is None
    assert balance.every == 0.4
    assert balance.answer(b"\x1bP", 0.0) is None
    assert balance.every == 0.0
    assert balance.answer(b"\x1bP", 0.0) is None
    assert balance.every == 0.4


def test_sartorius_says_nothing_but_cal_int_while_it_adjusts() -> None:
    balance = SartoriusSbi(decimals=2)
    assert balance.answer(b"\x1bZ", 5.0) is None
    assert asked(balance, b"\x1bP", 14.9) == Answer(b"Stat     Cal.Int.\r\n", {"mass": None}, states={"mass": "none"})
    assert said(balance, b"\x1bP", 15.0) == b"N     +   100.00 g  \r\n"
    assert len(said(balance, b"\x1bP", 15.0)) == 22
    assert balance.answer(b"\x1bT", 16.0) is None
    assert balance.answer(b"nonsense", 16.0) is None


def test_digiquartz_answers_by_address_after_its_integration() -> None:
    barometer = Digiquartz(pressure=constant(1013.619))
    answer = asked(barometer, b"*0100P3")
    assert (answer.reply, answer.delay, answer.cancels) == (b"*00011013.619\r\n", 1.364, True)
    assert said(barometer, b"*9900P3") == b"*00011013.619\r\n"
    for silent in (b"*0200P3", b"P3", b"*0100ZZ", b"*0100UN=2", b"*0100EW*0200UN=2", b""):
        assert barometer.answer(silent, 0.0) is None


def test_digiquartz_writes_behind_ew_only_and_samples_without_end() -> None:
    barometer = Digiquartz(unit_code=1)
    assert barometer.answer(b"*0100UN=2", 0.0) is None
    assert said(barometer, b"*0100UN") == b"*0001UN=1\r\n"
    assert said(barometer, b"*0100EW*0100UN=2") == b"*0001UN=2\r\n"
    assert said(barometer, b"*0100UN") == b"*0001UN=2\r\n"
    assert said(barometer, b"*0100P4") == b""
    assert barometer.every == 1.364
    assert barometer.unasked(0.0).values == {"pressure": "1013.619"}
    said(barometer, b"*0100P3")
    assert barometer.every == 0.0


def test_multimeter_needs_time_and_keeps_errors() -> None:
    meter = ScpiDmm(resistance=constant(107.7935))
    assert meter.answer(b"FETC?", 0.0) is None
    assert meter.answer(b"NONSENSE", 0.0) is None
    assert meter.answer(b"CONF:FRES 100;SENS:FRES:NPLC 10;:SENS:FRES:OCOM ON", 0.0) is None
    assert said(meter, b"SYST:ERR?") == b'-230,"Data corrupt or stale"\n'
    assert said(meter, b"SYST:ERR?") == b'-113,"Undefined header"\n'
    assert said(meter, b"SYST:ERR?") == b'+0,"No error"\n'
    assert said(meter, b"SENS:FRES:NPLC?") == b"+1.00000000E+01\n"
    answer = asked(meter, b"READ?")
    assert answer.reply == b"+1.07793500E+02\n"
    assert answer.delay == pytest.approx(0.8)
    assert asked(meter, b"FETC?").delay == 0.0
    broken = ScpiDmm(resistance=constant(1e9))
    assert asked(broken, b"READ?") == Answer(
        b"+9.90000000E+37\n",
        {"resistance": None},
        0.04,
        units={"resistance": "Ohm"},
        states={"resistance": "over"},
    )


def test_milli_k_keeps_what_was_set() -> None:
    bridge = MilliK(resistances={"1": constant(100.0), "2": constant(25.5)})
    assert bridge.answer(b"MILLIK:REMOTE;SENSE:CHANNEL 2", 0.0) is None
    assert asked(bridge, b"READ?") == Answer(
        b"25.50000\r", {"resistance-2": "25.50000"}, 0.3, units={"resistance-2": "Ohm"}
    )
    assert bridge.answer(b"SENSE:CHANNEL 9;READ?", 0.0) is None


ROOM = {"P": constant(1025.41), "T": constant(19.19), "RH": constant(57.83)}


def test_transmitter_echoes_and_prompts_until_it_is_told_not_to() -> None:
    transmitter = VaisalaPtu(quantities=ROOM)
    assert said(transmitter, b"form").startswith(b"form\r\n")
    assert said(transmitter, b"form").endswith(b"\r\n>")
    assert said(transmitter, b"echo off") == b"echo off\r\nEcho                : OFF\r\n"
    assert said(transmitter, b"nonsense") == b"Unknown command.\r\n"
    assert b"Serial number  : SIM00006\r\n" in said(transmitter, b"?")
    assert said(transmitter, b"?").endswith(b"Module 2       : EMPTY\r\n")


def test_transmitter_writes_its_format_and_its_values_as_the_manuals_do() -> None:
    transmitter = VaisalaPtu(quantities=ROOM, echo=False, serial="K1510011")
    assert said(transmitter, b'FORM 4.3 P " " 3.3 T " " 3.3 RH " " SN " " #r #n') == b"OK\r\n"
    assert said(transmitter, b"SEND") == b"1025.410  19.190  57.830 K1510011 \r\n"
    assert said(transmitter, b"FORM ?") == b'4.3 P " " 3.3 T " " 3.3 RH " " SN " " \\r \\n\r\n'
    said(transmitter, b'FORM 3.1 "T=" T " " U3 \\RN')  # PTU300 user guide p. 103
    assert said(transmitter, b"SEND") == b"T= 19.2 'C \r\n"
    said(transmitter, b"FORM 4.1 P U #rn")
    assert said(transmitter, b"SEND") == b"1025.4hPa\r\n"
    said(transmitter, b"FORM /")
    assert said(transmitter, b"SEND") == b"P=  1025.4 hPa T= 19.2 'C RH= 57.8 %RH \r\n"


def test_transmitter_prints_stars_for_what_is_missing_or_does_not_fit() -> None:
    transmitter = VaisalaPtu(quantities={"P": ROOM["P"], "T": None}, echo=False)
    said(transmitter, b"FORM 3.1 P T #r #n")
    answer = asked(transmitter, b"SEND")
    assert answer.reply == b"**********\r\n"
    assert answer.values == {"pressure": None, "temperature": None}


def test_transmitter_without_its_probe_has_a_pressure_only() -> None:
    transmitter = VaisalaPtu(quantities=ROOM, echo=False, form='5.2 P " " 4.1 T " " RH #r #n')
    for state, shown in (("lost", b"****** ******"), ("lost, ****.**", b"****.** ****.**"), ("connected", None)):
        transmitter.change("probe", state)
        assert said(transmitter, b"SEND") == b" 1025.41 " + (shown or b"  19.2   57.8") + b"\r\n"


def test_transmitter_runs_until_it_is_stopped() -> None:
    transmitter = VaisalaPtu(quantities=ROOM, echo=False)
    said(transmitter, b"R")
    assert transmitter.every == 1.0
    assert transmitter.unasked(0.0).reply == said(transmitter, b"SEND")
    said(transmitter, b"S")
    assert transmitter.every == 0.0
