"""Vaisala humidity and temperature probes over Modbus (HMP110, HMP4, HMT330, HMDW and similar series).

Source: HMP4 quick guide p. 20 (30.56 % is `7AE1 41F4`); HMP110 user guide p. 78 and 87; HMT330 user guide p. 202:
floats, low word first, not-a-number where a value is missing. HMP110 user guide p. 78, HMDW110 user guide p. 82, HMP
series user guide M212022EN p. 108: the test registers 0x1F01 and 0x1F02 hold -123.45 at all times. M212022EN-K, status
registers, and HMT330 user guide p. 202: 0x0201 is 1 while data are online, 0 while the output is locked (purge, sensor
heating); M212022EN-K: 0x0207 and 0x0208 are the states of humidity and temperature, 0 is OK.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

from drivers import decode
from drivers.driver import Channel, Driver, Poll, Registers, SerialLine, Setup
from drivers.errors import Unreadable, WrongSetting

TEST_VALUE = bytes.fromhex("E666 C2F6")
SHOWN = "the test registers 0x1F01 and 0x1F02 hold {}, and E666 C2F6 (-123.45, low word first) would be right"
GATEWAY = "where a gateway in between exchanges them, let it pass them on as they come"
WITHOUT = "a device that does not have these registers is read with the option prove_words = false"
STATES = {
    0x0001: "not available",
    0x0002: "not reliable",
    0x0004: "under range",
    0x0008: "over range",
    0x0020: "locked",
    0x0080: "sensor failure",
    0x0100: "not ready",
}
WITHOUT_STATES = (
    'an HMT330 has no states of its values: option status = "hmt330"; one whose register 0x0201 is no online status '
    '(HMP110, HMDW110, HMD65): option status = "none"'
)


def vaisala_hmp(*, prove_words: bool = True, status: Literal["hmp", "hmt330", "none"] = "hmp") -> Driver[Registers]:
    """Vaisala HMP probe: relative humidity in % and temperature in degrees Celsius, in one question.

    A gateway that exchanges the words of a number makes another number of it. So the test value -123.45 is read at the
    connection and with each proof; `prove_words` = false leaves that out, for a device that does not have it.

    While a probe is purged or heated, its values are locked: those of before. `status` says what is read of that, as
    often: "hmp" the online status and the states of both values, "hmt330" the online status alone, "none" nothing, for
    devices that do not have it. A probe has a serial number, and this driver does not ask for it.
    """
    setup = [Setup(Registers(0x1F01, 2), word_order, proves=True, advice=WITHOUT)] if prove_words else []
    if status != "none":
        setup.append(Setup(Registers(0x0201, 1), online, proves=True, advice=WITHOUT_STATES))
    if status == "hmp":
        setup.append(Setup(Registers(0x0207, 2), states, proves=True, advice=WITHOUT_STATES))
    return Driver(
        title="Vaisala HMP, HMT, HMDW humidity probe (Modbus)",
        setup=tuple(setup),
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


def online(raw: bytes) -> None:
    """Accept 1, online data available."""
    if raw == b"\0\0":
        raise WrongSetting("the output is locked (purge, heating of the sensor): its values are those of before", raw)
    if raw != b"\0\1":
        found = Registers.show(raw)
        raise Unreadable(f"no online status: register 0x0201 holds {found}, and 0000 or 0001 would be right", raw)


def states(raw: bytes) -> None:
    """Accept the state 0 of humidity and of temperature."""
    if len(raw) != 4:
        raise Unreadable(f"{len(raw)} bytes where two states have 4", raw)
    for name, state in (("humidity", raw[:2]), ("temperature", raw[2:])):
        if found := int.from_bytes(state, "big"):
            said = [words for bit, words in STATES.items() if found & bit] or ["of a state that no manual names"]
            raise WrongSetting(f"the {name} is {', '.join(said)} ({found:#06x})", raw)
