"""The place of an instrument at its wire: its own instrument is in it, or for some time another one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulators.instrument import Answer, RegisterSimulator, TextSimulator, Values


@dataclass(slots=True)
class TextPlace:
    """Speaks as the text instrument that is present."""

    own: TextSimulator
    stranger: TextSimulator
    present: TextSimulator = field(init=False)

    def __post_init__(self) -> None:
        self.present = self.own

    @property
    def ends(self) -> tuple[bytes, ...]:
        """Terminators of a request."""
        return self.present.ends

    @property
    def line(self) -> str:
        """Give the setting of the serial line."""
        return self.present.line

    @property
    def greeting(self) -> bytes:
        """What it sends after switching on."""
        return self.present.greeting

    @property
    def every(self) -> float:
        """Seconds between two lines that it sends without a request; 0: none."""
        return self.present.every

    @property
    def serial(self) -> str:
        """Serial number of the instrument that is present."""
        return self.present.serial

    def answer(self, request: bytes, now: float) -> Answer | None:
        """Answer a request."""
        return self.present.answer(request, now)

    def unasked(self, now: float) -> Answer:
        """Give what it sends by itself."""
        return self.present.unasked(now)

    def power_on(self) -> None:
        """Switch on the instrument that is present."""
        self.present.power_on()

    def change(self, name: str, value: str) -> None:
        """Set something at the instrument that is present."""
        self.present.change(name, value)

    def exchange(self, *, stranger: bool) -> None:
        """Connect the other instrument, or the own one again: each comes as it is after switching on."""
        self.present = self.stranger if stranger else self.own
        self.present.power_on()


@dataclass(slots=True)
class RegisterPlace:
    """Answers as the Modbus unit that is present."""

    own: RegisterSimulator
    stranger: RegisterSimulator
    present: RegisterSimulator = field(init=False)

    def __post_init__(self) -> None:
        self.present = self.own

    greeting = b""

    @property
    def line(self) -> str:
        """Give the setting of the serial line."""
        return self.present.line

    @property
    def units(self) -> Mapping[str, str]:
        """Units of the channels."""
        return self.present.units

    @property
    def most(self) -> int:
        """Registers that it gives in one question at most."""
        return self.present.most

    @property
    def places(self) -> Mapping[int, str]:
        """Give the channel of each address."""
        return self.present.places

    def registers(self, now: float) -> Mapping[int, int]:
        """Give all registers."""
        return self.present.registers(now)

    def values(self, now: float) -> Values:
        """Give the digits of the values."""
        return self.present.values(now)

    def states(self, now: float) -> Mapping[str, str]:
        """Give the states of the values."""
        return self.present.states(now)

    def power_on(self) -> None:
        """Do nothing: a unit keeps its settings."""

    def change(self, name: str, value: str) -> None:
        """Refuse: a lab file is checked for it."""
        raise ValueError(f"{name} = {value!r} cannot be set at this instrument")

    def exchange(self, *, stranger: bool) -> None:
        """Connect the other unit, or the own one again."""
        self.present = self.stranger if stranger else self.own
