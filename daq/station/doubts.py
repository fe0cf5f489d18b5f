"""Which stored readings of an instrument are not proven yet, and the doubt where a proof then fails.

A reading is proven by the next proof of the instrument's identity and setting. A value whose unit the reply did not
show is proven by the next reply that shows the right one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from drivers.errors import Altered, Impostor, Lost, Silent, Unreadable, Unsettled, WrongSetting

if TYPE_CHECKING:
    from daq.station.records import Station
    from drivers.errors import InstrumentError

IDENTITY, SETTING, UNIT = "identity", "setting", "unit"

Span = tuple[int, int]
"""Stamps (UTC ns) of the first and the last reading of a channel that is not proven."""


@dataclass(slots=True)
class Doubts:
    """What the next proof of one instrument has to prove."""

    station: Station
    instrument: str
    provable: bool = True
    """Whether there is a question for the identity that may be asked at any time."""
    count: int = 0
    """Doubts that were recorded since the start."""
    last: str = ""
    _proofs: int = field(default=0, init=False)
    _unproven: dict[str, Span] = field(default_factory=dict, init=False)
    _unshown: dict[str, Span] = field(default_factory=dict, init=False)
    _questioned: bool = field(default=False, init=False)
    """A proof was not answered since the last good one."""

    def stored(self, channel: str, at: int, proofs: int, *, unit_shown: bool | None) -> None:
        """Note a stored reading, asked after so many proofs; `unit_shown` is None where there is no value."""
        self.proved_by(proofs)
        self._unproven[channel] = (self._unproven.get(channel, (at, at))[0], at)
        if unit_shown:
            self._unshown.pop(channel, None)
        elif unit_shown is False:
            self._unshown[channel] = (self._unshown.get(channel, (at, at))[0], at)

    def failed_proof(self, error: InstrumentError, proofs: int) -> None:
        """Record what a failed proof says of the readings since the last good one; so many were good before.

        An answer of another form is not that of the instrument, and one more good proof heals nothing. Where none came,
        the next attempt decides.
        """
        if isinstance(error, Silent | Lost):
            self._questioned = self._questioned or _not_answered(error)
        else:
            self._doubt_of(error, proofs)

    def failed_to_connect(self, error: InstrumentError, proofs: int) -> None:
        """Record what it says of the readings before that the instrument does not prove itself after trouble."""
        if isinstance(error, Impostor | Unreadable) or (self._questioned and _not_answered(error)):
            self._doubt_of(error, proofs)
        elif _not_answered(error):
            self._questioned = True

    def proved(self, proofs: int) -> None:
        """Note a good proof: what was stored before it is proven."""
        self._proofs = proofs
        self._questioned = False
        self._unproven.clear()

    def proved_by(self, proofs: int) -> None:
        """Note the good proofs of which nobody has told: so many were good by now."""
        if proofs != self._proofs:
            self.proved(proofs)

    @property
    def open(self) -> bool:
        """Whether anything is stored that is not proven."""
        return self.provable and bool(self._unproven)

    def end(self) -> None:
        """Record what is still unproven, where no other proof will be asked for."""
        if self.open:
            self.raise_for(IDENTITY, "no proof could be had before the reading of this instrument ended")

    def end_for_good(self) -> None:
        """Record what waits for the next proof or the next unit that is shown, where nobody takes it over."""
        self.end()
        self._record(UNIT, "stored without a unit, and none was shown before the reading ended", self._unshown)

    def was_stored(self, channel: str, at: int) -> None:
        """Note a reading of the run before, of which no proof is known."""
        first, last = self._unproven.get(channel, (at, at))
        self._unproven[channel] = min(first, at), max(last, at)

    def take_over(self, before: Doubts) -> None:
        """Go on with what was not proven before: the next proof, and the next unit that is shown, decide on it."""
        self._unproven, self._unshown = dict(before._unproven), dict(before._unshown)

    def other_unit(self, error: InstrumentError) -> None:
        """Record the values without a unit where the next unit that is shown is another one."""
        if isinstance(error, WrongSetting):
            self._record(UNIT, f"stored without a unit, and then: {error}", self._unshown)

    def raise_for(self, kind: str, text: str) -> None:
        """Record a doubt for every reading since the last good proof."""
        self._record(kind, text, self._unproven)
        self._questioned = False

    def _doubt_of(self, error: InstrumentError, proofs: int) -> None:
        if proofs == self._proofs:
            self.raise_for(SETTING if isinstance(error, Altered) else IDENTITY, f"the next proof failed: {error}")
        self._unproven.clear()

    def _record(self, kind: str, text: str, spans: dict[str, Span]) -> None:
        for channel, (first, last) in spans.items():
            self.station.doubt(self.instrument, channel, kind, text, first, last)
            self.count += 1
            self.last = text
        spans.clear()


def _not_answered(error: InstrumentError) -> bool:
    """Whether a question was asked and nobody answered it."""
    return isinstance(error, Silent) and not isinstance(error, Unsettled)
