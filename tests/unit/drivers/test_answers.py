"""Answers that no golden row has: error words, busy instruments, widths, units, options; what is said of them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from drivers import catalogue
from drivers.driver import Driver, Sample, Status
from drivers.errors import Unreadable, WrongSetting
from tests.drills.fuzz import with_sum


def driver(name: str, **options: Any) -> Driver[Any]:
    return catalogue.factory(name)(**options)


def identity(name: str, raw: bytes, **options: Any) -> str:
    made = driver(name, **options).identity
    assert made is not None
    return made.decode(raw)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"ES\r\n", "ES: unknown command"),
        (b"ET\r\n", "ET: transmission error"),
        (b"EL\r\n", "EL: wrong parameter"),
        (b"S L\r\n", "no weight"),
        (b"S S     100.00 \r\n", "no weight"),
        (b"S S     100.00 gramme\r\n", "no weight"),
        (b"S X     100.00 g\r\n", "no weight"),
    ],
)
def test_mt_sics_says_which_error_the_balance_answers(raw: bytes, said: str) -> None:
    for waits in (False, True):
        with pytest.raises(Unreadable, match=said) as caught:
            driver("mt-sics", wait_for_stability=waits).polls[0].decode(raw)
        assert caught.value.raw == raw


@pytest.mark.parametrize("blanks", [1, 2, 7])
@pytest.mark.parametrize("code", ["1b", "1t", "2t", "3b", "9t", "10b", "11t", "12b", "14t", "15b"])
def test_mt_sics_with_a_fault_has_no_weight(code: str, blanks: int) -> None:
    """MT-SICS reference manual 11781363, 2.1.3.3; how many blanks stand before the word is not certain."""
    for waits in (False, True):
        raw = f"S S{blanks * ' '}Error {code}\r\n".encode()
        assert driver("mt-sics", wait_for_stability=waits).polls[0].decode(raw) == (Sample.missing(Status.INVALID),)


@pytest.mark.parametrize(
    "reply",
    [
        *("S SError 10b", "S D  Error 10b", "S  Error 10b", "S S  Error 10", "S S  Error 10x", "S S  Error b"),
        *(
            "S S  Error 4b",
            "S S  Error 13t",
            "S S  Error 010b",
            "S S  Error  10b",
            "S S  Error 10b g",
            "S S  error 10b",
        ),
        *("S S  Error 10b ", "S S     10.00 g Error 10b", "S S  Error 10bS S     100.00 g"),
    ],
)
def test_what_is_no_fault_of_a_balance_stays_unreadable(reply: str) -> None:
    with pytest.raises(Unreadable):
        driver("mt-sics").polls[0].decode(f"{reply}\r\n".encode())


def test_mt_sics_that_is_busy_does_not_tell_its_serial_number_now() -> None:
    with pytest.raises(Unreadable, match="busy"):
        identity("mt-sics", b"I4 I\r\n")
    with pytest.raises(Unreadable, match="no serial number"):
        identity("mt-sics", b'I4 B "B1"\r\n')
    with pytest.raises(Unreadable, match="no serial number"):
        identity("mt-sics", b'I4 A "B1" "B2"\r\n')


@pytest.mark.parametrize(
    "raw",
    [
        b"I2 I\r\n",
        b"I2 L\r\n",
        b"ES\r\n",
        b"EL\r\n",
        b"ET\r\n",
        b'I2 A "XPR205" "220.0000 g"\r\n',
        b'I2 A ""\r\n',
        b'I2 A "\xb5-Waage 2.1 g"\r\n',
    ],
)
def test_every_answer_in_time_to_a_control_question_of_mt_sics_is_one(raw: bytes) -> None:
    first, second = driver("mt-sics").controls
    first.check(raw)
    if raw.startswith(b"I2"):
        with pytest.raises(Unreadable, match="no answer to I3"):
            second.check(raw)
        with pytest.raises(Unreadable):
            first.check(raw + raw)
        with pytest.raises(Unreadable):
            first.check(raw[:-1])


@pytest.mark.parametrize(("unit", "digits"), [("g", "0.00"), ("mg", "-1.2"), ("kg", "0.12345")])
def test_units_of_balances_are_those_of_the_config(unit: str, digits: str) -> None:
    sample = Sample(Decimal(digits), unit)
    assert driver("mt-sics", unit=unit).polls[0].decode(f"S S {digits:>10} {unit}\r\n".encode()) == (sample,)
    sign, shown = ("-", digits[1:]) if digits.startswith("-") else ("+", digits)
    line = f"N     {sign}{shown:>9} {unit:<3}\r\n".encode()
    assert driver("sartorius-sbi", unit=unit).polls[0].decode(line) == (sample,)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("Stat     Cal.Ext.   ", Status.INVALID),
        ("Stat       OFF", Status.INVALID),
        ("Stat       L        ", Status.UNDERRANGE),
        ("Stat High           ", Status.OVERRANGE),
        ("Err 54", Status.INVALID),
        ("   Err 054    ", Status.INVALID),
        ("   Err 054          ", Status.INVALID),
        ("Stat     APP.ERR    ", Status.INVALID),
        ("Stat     DIS.ERR 012", Status.INVALID),
        ("Stat     PRT.ERR 1  ", Status.INVALID),
    ],
)
def test_sbi_words_and_errors_in_the_place_of_a_weight(line: str, status: Status) -> None:
    assert driver("sartorius-sbi").polls[0].decode(f"{line}\r\n".encode()) == (Sample.missing(status),)


@pytest.mark.parametrize(
    "line",
    [
        "Stat       High      ",  # 21 characters
        "      High   ",
        "      High     ",
        "H",
        "High          ",  # its first character is a sign or blank
        "Stat     Hoch       ",
        "Stat               ",
        "             ",
        "               ",
        "Stat     Err 54      ",
        "Err",
        "Err 1234",
        "G     +   123.56 g  ",
        "N2    +   123.56 g  ",
        "N     +   123.56 g ",
        "+   123.56 g ",
        "+   123.56 g   ",
        "+    123.56 g  ",
        "+   -23.56 g  ",
        "++  123.56 g  ",
        "              " * 300,
    ],
)
def test_sbi_is_no_line_of_its_widths(line: str) -> None:
    with pytest.raises(Unreadable):
        driver("sartorius-sbi").polls[0].decode(f"{line}\r\n".encode())


@pytest.mark.parametrize("shown", ["%", "/lb", "ct", "oz", "pcs"])
def test_sbi_names_the_unit_that_is_displayed(shown: str) -> None:
    with pytest.raises(WrongSetting, match=f"the unit '{shown}'"):
        driver("sartorius-sbi").polls[0].decode(f"+   123.56 {shown:<3}\r\n".encode())


def test_sbi_serial_numbers() -> None:
    assert identity("sartorius-sbi", b"10105352\r\n") == "10105352"
    assert identity("sartorius-sbi", b"      10105352\r\n") == "10105352", "filled up with blanks"
    assert identity("sartorius-sbi", b"0037402012    \r\n") == "0037402012"
    refused = (b"    123561    \r\n", b"+   123.56 g  \r\n", b"Stat       High\r\n", b"OFF\r\n", b"12 34\r\n", b"\r\n")
    for raw in (*refused, b"1" * 21 + b"\r\n"):
        with pytest.raises(Unreadable, match="no serial number"):
            identity("sartorius-sbi", raw)


def test_a_digiquartz_at_another_address() -> None:
    made = driver("digiquartz", address=7)
    assert made.polls[0].decode(b"*00071013.619\r\n") == (Sample(Decimal("1013.619"), "hPa"),)
    assert identity("digiquartz", b"*0007SN=41234\r\n", address=7) == "41234"
    made.controls[0].check(b"*0007VR=H1.00\r\n")
    made.setup[0].check(b"*0007UN=2\r\n")
    with pytest.raises(Unreadable, match="transducer 7"):
        made.polls[0].decode(b"*00011013.619\r\n")
    with pytest.raises(Unreadable, match="transducer 7"):
        identity("digiquartz", b"*0001SN=41234\r\n", address=7)


def test_digiquartz_answers_to_other_questions_and_without_a_value() -> None:
    made = driver("digiquartz")
    for check, raw, said in (
        (made.setup[0].check, b"*0001UN=\r\n", "no unit code"),
        (made.setup[0].check, b"*0001UN=hPa\r\n", "no unit code"),
        (made.controls[0].check, b"*0001VR=\r\n", "no version"),
        (made.controls[0].check, b"*0001SN=41234\r\n", r"expected \*0001VR="),
    ):
        with pytest.raises(Unreadable, match=said) as caught:
            check(raw)
        assert type(caught.value) is Unreadable
    with pytest.raises(Unreadable, match="no serial number"):
        identity("digiquartz", b"*0001SN=\r\n")
    made.controls[0].check(b"*0001VR=R5.10 of 2003, NANO\r\n")


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b'+1.077935E+02;"FRES"\n', 'digits = "free"'),
        (b'+1.07793500E+002;"FRES"\n', "in the form of SCPI"),
        (b'overload;"FRES"\n', "in the form of SCPI"),
        (b'+1.07793500E+02;"FRES";1\n', "with its function"),
        (b"+1.07793500E+02;FRES\n", "with its function"),
        (b'+1.07793500E+02;""\n', "with its function"),
        (b'+1.07793500E+02;  "FRES"\n', "with its function"),
    ],
)
def test_a_multimeter_that_answers_otherwise(raw: bytes, said: str) -> None:
    with pytest.raises(Unreadable, match=said) as caught:
        driver("scpi-dmm").polls[0].decode(raw)
    assert not isinstance(caught.value, WrongSetting)


@pytest.mark.parametrize("function", ["VOLT", "RES", "VOLT:AC", "TEMP"])
def test_a_multimeter_that_measures_something_else_is_set_wrongly(function: str) -> None:
    with pytest.raises(WrongSetting, match=function):
        driver("scpi-dmm").polls[0].decode(f'+1.07793500E+02;"{function}"\n'.encode())


def test_multimeters_on_a_serial_line_end_with_cr_lf() -> None:
    made = driver("scpi-dmm")
    made.controls[0].check(b"1994.0\r\n")
    made.controls[0].check(b"1994.0\n")
    assert identity("scpi-dmm", b"FLUKE,8846A,1234567,11/06/2006 D1.0\r\n") == "1234567"
    assert identity("scpi-dmm", b"KEITHLEY INSTRUMENTS INC., MODEL 2000, 1234567, A08 /A02\n") == "1234567"
    for raw in (b"1994.0\r\r\n", b"1994.0\r", b"+1.0\n", b"1994\n", b"0994.0\n"):
        with pytest.raises(Unreadable):
            made.controls[0].check(raw)
    for raw in (b"FLUKE,8846A,1234567\n", b"FLUKE,8846A,1234567,1.0,2\n"):
        with pytest.raises(Unreadable, match="four fields"):
            identity("scpi-dmm", raw)


def test_digits_that_are_free() -> None:
    decode = driver("scpi-dmm", digits="free").polls[0].decode
    for text in ("1.077935E+02", "+1.0E-03", "-1.077935001234567E+02"):
        assert decode(f'{text};"FRES"\n'.encode()) == (Sample(Decimal(text), "Ohm"),)
    for text in ("1E+02", "10.7E+02", "1.E+02", "1.0779350012345678E+02", "1.0E+2", "1.0E02"):
        with pytest.raises(Unreadable) as caught:
            decode(f'{text};"FRES"\n'.encode())
        assert "option" not in str(caught.value), "it is set already"


def test_a_milli_k_says_what_is_wrong() -> None:
    made = driver("milli-k", decimals=3, range_ohm=500_000)
    assert made.polls[0].decode(b"10234.567\r") == (Sample(Decimal("10234.567"), "Ohm"),)
    with pytest.raises(Unreadable, match=r"the option decimals \(now 3\)"):
        made.polls[0].decode(b"100.00012\r")
    with pytest.raises(Unreadable, match="answers 'Error: Invalid range'"):
        made.polls[0].decode(b"Error: Invalid range\r")
    with pytest.raises(Unreadable, match="no milliK"):
        identity("milli-k", b"Isothermal Technology,millisKanner,21-P2593,2.01\r")
    with pytest.raises(Unreadable, match="no milliK"):
        identity("milli-k", b"Isothermal Technology,milliK,21-P2460\r")


@pytest.mark.parametrize(
    ("range_ohm", "highest", "above"),
    [
        (1, "126.50000", "126.50001"),
        (115, "126.50000", "126.50001"),
        (116, "506.00000", "506.00001"),
        (130, "506.00000", "1100.00012"),
        (460, "506.00000", "506.00001"),
        (461, "550000.00000", "550000.00001"),
        (500_000, "550000.00000", "999999100.00012"),
    ],
)
def test_a_milli_k_gives_no_more_than_its_range_and_a_tenth(range_ohm: int, highest: str, above: str) -> None:
    """Its ranges are 115, 460 and 500 000 ohms; it takes the smallest that holds what it is told."""
    decode = driver("milli-k", range_ohm=range_ohm).polls[0].decode
    for right in (highest, "-1.00000", "-0.00012"):
        assert decode(f"{right}\r".encode()) == (Sample(Decimal(right), "Ohm"),)
    for wrong in (above, "-1.00001", "-100.00012"):
        with pytest.raises(Unreadable, match="range_ohm chooses the range"):
            decode(f"{wrong}\r".encode())


def test_a_barometer_has_one_value_and_a_transmitter_three() -> None:
    raw = with_sum(b"P=    1033.700 hPa CS\r\n")
    assert driver("vaisala-ptu", model="ptb330").polls[0].decode(raw) == (Sample(Decimal("1033.700"), "hPa"),)


@pytest.mark.parametrize(
    "message",
    [
        b"P=   11033.70  hPa CS\r\n",
        b"P=    1033.700 hPa T=     22.200 'C CS\r\n",
        b"P=    1033.700 hPa T=     22.200 'C RH=    38.300%RH N 0    0000CS\r\n",
        b"P=    1033.700 hPa T=      22.20 'C RH=    38.30 %RH N 0    0000CS\r\n",
        b"P=    1033.700 hPa T=     22.200 'C RH=   38.300 %RH N 0    0000CS\r\n",
        b"P=    **33.700 hPa CS\r\n",
        b"T=    1033.700 hPa CS\r\n",
    ],
)
def test_a_right_checksum_is_not_enough(message: bytes) -> None:
    with pytest.raises(Unreadable):
        driver("vaisala-ptu").polls[0].decode(with_sum(message))


@pytest.mark.parametrize("stars", ["*", "***********", " " * 6 + "*****", "****.**", "       *.***", "*" * 40, "***. "])
def test_stars_of_any_number_stand_for_a_missing_value_and_the_others_are_read(stars: str) -> None:
    """PTB330 user guide p. 71: "quantity value or * characters"; the PTB210 prints ****.**."""
    decode = driver("vaisala-ptu").polls[0].decode
    pressure, humidity = Sample(Decimal("1033.700"), "hPa"), Sample(Decimal("38.30"), "%")
    missing = Sample.missing(Status.INVALID)
    for unit in ("'C ", "   "):
        raw = with_sum(f"P=    1033.700 hPa T={stars} {unit}RH=    38.30 %RH N 0    0000CS\r\n".encode())
        assert decode(raw) == (pressure, missing, humidity)
    assert decode(with_sum(f"P={stars} hPa T=     22.200 'C RH={stars} %RH N 0    0000CS\r\n".encode())) == (
        missing,
        Sample(Decimal("22.200"), "Cel"),
        missing,
    )
    barometer = driver("vaisala-ptu", model="ptb330").polls[0].decode
    assert barometer(with_sum(f"P={stars} hPa CS\r\n".encode())) == (missing,)


@pytest.mark.parametrize("field", ["", " ", ".", "     .   ", "*1", "1*", "**.2**", "-****", "     ****0.0"])
def test_what_holds_no_star_or_a_digit_is_no_missing_value(field: str) -> None:
    with pytest.raises(Unreadable):
        driver("vaisala-ptu").polls[0].decode(
            with_sum(f"P=    1033.700 hPa T={field} 'C RH=    38.30 %RH N 0    0000CS\r\n".encode())
        )


def test_a_vaisala_in_fahrenheit_or_without_a_unit() -> None:
    decode = driver("vaisala-ptu").polls[0].decode
    with pytest.raises(WrongSetting, match="'F"):
        decode(with_sum(b"P=    1033.700 hPa T=     72.200 'F RH=    38.30 %RH N 0    0000CS\r\n"))
    with pytest.raises(Unreadable, match="without its unit"):
        decode(with_sum(b"P=    1033.700 hPa T=     22.200    RH=    38.30 %RH N 0    0000CS\r\n"))


def test_a_vaisala_in_run_mode_or_another_device_has_no_serial_number() -> None:
    for raw in (b"P= 1013.2 hPa\r\n", b"Serial number  : \r\n", b"A Serial number: A1\r\n", b"Serial number: a1\r\n"):
        with pytest.raises(Unreadable, match="stop_run = true"):
            identity("vaisala-ptu", raw)
    assert identity("vaisala-ptu", b"PTU300 / 2.02\r\nSerial number  : D1120003\r\nModule 1 : BARO-1\r\n") == "D1120003"


@pytest.mark.parametrize("raw", [b"", bytes(4), bytes.fromhex("7AE1 41F4"), bytes.fromhex("E666 C2F6 E666 C2F6")])
def test_a_device_without_the_test_value_is_told_from_one_in_another_order(raw: bytes) -> None:
    step = driver("vaisala-hmp").setup[0]
    with pytest.raises(Unreadable, match="no test value") as caught:
        step.check(raw)
    assert not isinstance(caught.value, WrongSetting)
    assert "prove_words = false" in step.advice


def test_a_vaisala_probe_whose_output_is_locked_gives_no_value() -> None:
    _, online, states = driver("vaisala-hmp").setup
    online.check(b"\0\1")
    states.check(bytes(4))
    with pytest.raises(WrongSetting, match="the output is locked"):
        online.check(b"\0\0")
    with pytest.raises(Unreadable, match="holds 002C, and 0000 or 0001 would be right") as caught:
        online.check(b"\0\x2c")
    assert not isinstance(caught.value, WrongSetting)
    for raw, said in (
        ("00200000", r"the humidity is locked \(0x0020\)"),
        ("00000003", r"the temperature is not available, not reliable \(0x0003\)"),
        ("02000000", "the humidity is of a state that no manual names"),
    ):
        with pytest.raises(WrongSetting, match=said):
            states.check(bytes.fromhex(raw))
    for size in (0, 3, 6):
        with pytest.raises(Unreadable, match=f"{size} bytes where two states have 4"):
            states.check(bytes(size))
    assert 'status = "hmt330"' in online.advice
    assert 'status = "none"' in states.advice


@pytest.mark.parametrize(
    ("state", "errors", "good"),
    [
        ("N 0    ", "0000", "PTH"),
        ("h 115  ", "0000", "PTH"),
        ("N  0", "0010", "PTH"),
        ("H 159.0", "0000", ""),
        ("S 115.0", "0000", ""),
        ("X 95.0 ", "0000", ""),
        ("N 0    ", "1000", "TH"),
        ("N 0    ", "0100", "PH"),
        ("N 0    ", "0001", "PT"),
    ],
)
def test_what_a_vaisala_says_of_its_values(state: str, errors: str, good: str) -> None:
    """PTU300 user guide p. 102: STAT and ERR; p. 111: a purge locks the values."""
    raw = with_sum(f"P=    1033.700 hPa T=     22.200 'C RH=    38.30 %RH {state}{errors}CS\r\n".encode())
    samples = driver("vaisala-ptu").polls[0].decode(raw)
    assert "".join(name for name, one in zip("PTH", samples, strict=True) if one.status is Status.GOOD) == good
    assert {one for one in samples if one.status is not Status.GOOD} <= {Sample.missing(Status.INVALID)}


@pytest.mark.parametrize("end", ["N 0    ", "0000", "Q 0    0000", "N 0    0020", "N 0", "N123456780000", "N0000"])
def test_a_vaisala_that_does_not_say_how_its_values_are_gives_none(end: str) -> None:
    message = f"P=    1033.700 hPa T=     22.200 'C RH=    38.30 %RH {end}CS\r\n".encode()
    with pytest.raises(Unreadable):
        driver("vaisala-ptu").polls[0].decode(with_sum(message))


@pytest.mark.parametrize("name", ["keller-33x", "vaisala-hmp", "modbus-singles"])
def test_registers_more_or_less_than_asked_for_are_refused(name: str) -> None:
    poll = driver(name).polls[0]
    size = 2 * poll.query.count
    poll.decode(bytes(size))
    for other in (0, size - 2, size - 1, size + 1, size + 2):
        with pytest.raises(Unreadable, match=f"{other} bytes where {size}"):
            poll.decode(bytes(other))


def test_singles_stand_in_the_order_of_their_registers() -> None:
    made = driver("modbus-singles", count=5, words="low first", unit="K")
    raw = bytes.fromhex("0000 3F80 0000 4000 0000 4040 0000 4080 0000 40A0")
    assert made.polls[0].decode(raw) == tuple(Sample(Decimal(number), "K") for number in (1, 2, 3, 4, 5))
