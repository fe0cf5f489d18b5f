"""Vaisala humidity and temperature probes over Modbus (HMP110, HMP4, HMT330, HMDW and similar series).

Source: HMP4 quick guide p. 20 (30.56 % is `7AE1 41F4`); HMP110 user guide p. 78 and 87; HMT330 user guide p. 202:
floats, low word first, not-a-number where a value is missing. HMP110 user guide p. 78, HMDW110 user guide p. 82, HMP
series user guide M212022EN p. 108: the test registers 0x1F01 and 0x1F02 hold -123.45 at all times.
"""

from __future__ import annotations

from functools import partial

from drivers import decode
from drivers.driver import Channel, Driver, Poll, Registers, SerialLine, Setup
from drivers.errors import Unreadable, WrongSetting

TEST_VALUE = bytes.fromhex("E666 C2F6")
SHOWN = "the test registers 0x1F01 and 0x1F02 hold {}, and E666 C2F6 (-123.45, low word first) would be right"
GATEWAY = "where a gateway in between exchanges them, let it pass them on as they come"
WITHOUT = "a device that does not have these registers is read with the option prove_words = false"


def vaisala_hmp(*, prove_words: bool = True) -> Driver[Registers]:
    """Vaisala HMP probe: relative humidity in % and temperature in degrees Celsius, in one question.

    A gateway that exchanges the words of a number makes another number of it. So the test value -123.45 is read at the
    connection and with each proof; `prove_words` = false leaves that out, for a device that does not have it. A probe
    has a serial number, and this driver does not ask for it.
    """
    proof = Setup(Registers(0x1F01, 2), word_order, proves=True, advice=WITHOUT)
    return Driver(
        title="Vaisala HMP, HMT, HMDW humidity probe (Modbus)",
        setup=(proof,) if prove_words else (),
        polls=(
            Poll(
                Registers(0x0000, 4),
                (Channel("humidity", "relative_humidity", "%"), Channel("temperature", "temperature", "Cel")),
                partial(decode.singles, units=("%", "Cel"), words="low first"),
            ),
        ),
        serial_line=SerialLine(19200, 8, "N", 2),
        port=502,
        proof="length",
    )


def word_order(raw: bytes) -> None:
    """Accept `E666 C2F6`, the test value -123.45 with its low word first."""
    if raw == TEST_VALUE:
        return
    found = SHOWN.format(Registers.show(raw))
    if sorted(raw) == sorted(TEST_VALUE):
        raise WrongSetting(f"another order of words or bytes: {found}; {GATEWAY}", raw)
    raise Unreadable(f"no test value: {found}", raw)
