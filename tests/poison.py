"""Classes of lines that no station writes, each with the words that must refuse it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from daq.road.line_protocol import encode
from daq.road.reading import Doubt, Event, EventKind, Health, Record
from tests.spools import reading

EPOCH = "e" * 32
LAST = rb" (?=\d+$)"
"""The place behind the last field."""


@dataclass(frozen=True)
class Poison:
    """A change to a good line of a kind ("reading", "event", "station"): what `old` matches becomes `new`."""

    old: bytes
    new: bytes
    words: str
    kind: str = "reading"

    def line(self, seq: int, epoch: str = EPOCH) -> bytes:
        """Give the bad line that stands where record `seq` should."""
        line, changes = re.subn(self.old, lambda _: self.new, good(self.kind, seq, epoch), count=1, flags=re.DOTALL)
        assert changes == 1, f"{self} changes nothing"
        return line


POISON = {
    "value is a text": Poison(rb"value=\d+", b'value="abc"', "value is '\"abc\"': it must be a finite float"),
    "value is an integer": Poison(rb"value=\d+", b"value=1i", "value is '1i': it must be a finite float"),
    "value is a boolean": Poison(rb"value=\d+", b"value=true", "value is 'true': it must be a finite float"),
    "value is NaN": Poison(rb"value=\d+", b"value=NaN", "value is 'NaN': it must be a finite float"),
    "value is infinite": Poison(rb"value=\d+", b"value=-Inf", "value is '-Inf': it must be a finite float"),
    "value is too large": Poison(rb"value=\d+", b"value=1E+999", "value is '1E+999': it must be a finite float"),
    "value is hexadecimal": Poison(rb"value=\d+", b"value=0x1F", "value is '0x1F': it must be a finite float"),
    "value is empty": Poison(rb"value=\d+", b"value=", "value is '': it must be a finite float"),
    "value has its unit": Poison(rb"value=\d+", b"value=1.5g", "value is '1.5g': it must be a finite float"),
    "value has a decimal comma": Poison(rb"value=\d+", b"value=1,5", "is no field: name=value is needed"),
    "value is a bare word": Poison(rb"value=\d+", b"value=abc", "value is 'abc': it must be a finite float"),
    "raw is a text": Poison(rb"raw=\d+", b'raw="5.00"', "raw is '\"5.00\"': it must be a finite float"),
    "rtt_ms is an integer": Poison(rb"rtt_ms=[\d.]+", b"rtt_ms=12i", "rtt_ms is '12i': it must be a finite float"),
    "text is a number": Poison(rb'text="[^"]*"', b"text=1.5", "text is '1.5': it must be a text"),
    "text without quotes": Poison(rb'text="[^"]*"', b"text=good", "text is 'good': it must be a text"),
    "quote is not closed": Poison(rb'00 g"', b"00 g", 'a text in "quotes" is needed'),
    "quote in a text": Poison(rb"S S", b'S"S', 'a text in "quotes" is needed'),
    "backslash in a text": Poison(rb"S S", b"S\\S", 'a text in "quotes" is needed'),
    "backslash ends a text": Poison(rb'00 g"', b'00 g\\"', 'a text in "quotes" is needed'),
    "status is a float": Poison(rb"status=0i", b"status=0", "status is '0': it must be a 64-bit integer such as 3i"),
    "status is a text": Poison(rb"status=0i", b'status="good"', "status is '\"good\"': it must be a 64-bit integer"),
    "status is unsigned": Poison(rb"status=0i", b"status=0u", "status is '0u': it must be a 64-bit integer"),
    "status is too large": Poison(rb"status=0i", b"status=9223372036854775808i", "it must be a 64-bit integer"),
    "seq is a float": Poison(rb"i,epoch", b".0,epoch", "it must be a 64-bit integer such as 3i"),
    "seq is too large": Poison(rb"seq=\d+i", b"seq=99999999999999999999i", "it must be a 64-bit integer"),
    "seq is missing": Poison(rb"seq=\d+i,", b"", "field seq is missing"),
    "seq is another": Poison(rb"seq=\d+i", b"seq=7i", "record 7 in the place of record"),
    "seq twice": Poison(rb"seq=", b"seq=1i,seq=", "field 'seq' twice: once is needed"),
    "epoch is another": Poison(rb'epoch="[^"]*"', b'epoch="%b"' % (b"d" * 32), "in a batch of epoch"),
    "epoch is a number": Poison(rb'epoch="[^"]*"', b"epoch=5f0c", "it must be a text"),
    "epoch is missing": Poison(rb'epoch="[^"]*",', b"", "field epoch is missing"),
    "identified is a text": Poison(LAST, b',identified="false" ', "identified is '\"false\"': it must be true or"),
    "simulated is an integer": Poison(LAST, b",simulated=1i ", "simulated is '1i': it must be true or false"),
    "clock is a boolean": Poison(LAST, b",clock=true ", "clock is 'true': it must be a text"),
    "clock_at is a float": Poison(LAST, b",clock_at=1.5 ", "clock_at is '1.5': it must be a 64-bit integer"),
    "unknown field": Poison(rb"rtt", b'operator="me",rtt', "field 'operator' is unknown: reading has one of value,raw"),
    "field without a value": Poison(rb",rtt", b",,rtt", "is no field: name=value is needed"),
    "no fields": Poison(rb"value=.*\d ", b"", "is no field: name=value is needed"),
    "two blanks": Poison(rb" value", b"  value", "is no field: name=value is needed"),
    "no stamp": Poison(rb" \d+$", b"", "stamp '': a blank and nanoseconds"),
    "stamp is a float": Poison(rb"\d+$", b"1.7e18", "stamp ' 1.7e18': a blank and nanoseconds"),
    "stamp is a date": Poison(rb"\d+$", b"2026-01-01T00:00:00Z", "stamp ' 2026-01-01T00:00:00Z': a blank and"),
    "stamp is too large": Poison(rb"\d+$", b"9223372036854775807", "nanoseconds since 1970 in 64 bits are needed"),
    "stamp is too small": Poison(rb"\d+$", b"-9223372036854775808", "nanoseconds since 1970 in 64 bits are needed"),
    "carriage return": Poison(rb"$", b"\r", "stamp "),
    "two lines in one": Poison(rb"$", b"\rreading value=1i 1", "stamp "),
    "text is no UTF-8": Poison(rb"S S", b"S \xb5", "no UTF-8: '\\xb5' at byte"),
    "tag is no UTF-8": Poison(rb"=balance", b"=bal\xe9", "no UTF-8: '\\xe9' at byte"),
    "foreign station": Poison(rb"=lab", b"=lab-2", "station 'lab-2' in a batch of station 'lab'"),
    "foreign measurement": Poison(
        rb"reading", b"cpu", "measurement 'cpu': it must be one of reading, event, doubt, station"
    ),
    "no station": Poison(rb",station=lab", b"", "they must be station,instrument,channel,quantity,unit"),
    "no tags": Poison(rb",station=\S*", b"", "the tags are '': they must be station,instrument,channel"),
    "tag twice": Poison(
        rb",unit=g", b",unit=g,unit=kg", "tag 'unit' twice: the tags must be station,instrument,channel"
    ),
    "unknown tag": Poison(rb",unit=g", b",unit=g,user=me", "they must be station,instrument,channel,quantity,unit"),
    "tag without a value": Poison(rb"=balance", b"=", "no tags and fields in ',station=lab,instrument=,channel="),
    "backslash in a tag": Poison(rb"=balance", b"=balance\\", "no tags and fields in"),
    "tag is missing": Poison(rb",unit=g", b"", "they must be station,instrument,channel,quantity,unit"),
    "tags in another order": Poison(
        rb",quantity=mass,unit=g", b",unit=g,quantity=mass", "they must be station,instrument,channel,quantity,unit"
    ),
    "tags are too long": Poison(rb"=balance", b"=" + b"b" * 65_500, "at most 65000 are allowed"),
    "line is too long": Poison(rb"S S", b"S" * 300_000, "bytes: at most 262144 are allowed"),
    "blank before it": Poison(rb"^", b" ", "measurement '': it must be one of"),
    "comment": Poison(rb"^", b"# ", "measurement '#': it must be one of"),
    "empty line": Poison(rb"^.*$", b"", "measurement '': it must be one of"),
    "JSON": Poison(rb"^.*$", b'{"value": 1}', "measurement '{\"value\":': it must be one of"),
    "binary": Poison(rb"^.*$", bytes(range(11, 256)), "no UTF-8"),
    "zeros": Poison(rb"^.*$", bytes(200), "it must be one of"),
    "until is a float": Poison(rb"until=\d+i", b"until=5", "until is '5': it must be a 64-bit integer", "event"),
    "missed is a text": Poison(rb"missed=3i", b'missed="3"', "missed is '\"3\"': it must be a 64-bit integer", "event"),
    "event without a kind": Poison(rb",kind=gap", b"", "they must be station,kind or station,instrument,kind", "event"),
    "event's text is a number": Poison(rb'text="no answer"', b"text=5i", "text is '5i': it must be a text", "event"),
    "event with a value": Poison(rb" text", b" value=1i,text", "field 'value' is unknown: event has one of", "event"),
    "serial is a number": Poison(LAST, b",serial=41234 ", "serial is '41234': it must be a text"),
    "doubt without its end": Poison(rb",until=\d+i", b"", "field until is missing", "doubt"),
    "doubt's end is a float": Poison(rb"until=\d+i", b"until=5", "until is '5': it must be a 64-bit integer", "doubt"),
    "doubt of no channel": Poison(rb",channel=mass", b"", "they must be station,instrument,channel", "doubt"),
    "doubt with a value": Poison(rb" kind", b" value=1.0,kind", "field 'value' is unknown: doubt has one of", "doubt"),
    "uptime is an integer": Poison(
        rb"uptime_s=1.5", b"uptime_s=1i", "uptime_s is '1i': it must be a finite float", "station"
    ),
    "counter is a float": Poison(rb"=3i", b"=3", "acquired is '3': it must be a 64-bit integer such as 3i", "station"),
    "number is a text": Poison(rb"uptime_s=1.5", b'up="1.5"', "integer such as 3i or a finite float", "station"),
    "head is a number": Poison(rb'head="[^"]*"', b"head=5i", "head is '5i': it must be a text", "station"),
    "field in capitals": Poison(rb"uptime_s", b"Uptime", "field 'Uptime' is unknown: station has a lower", "station"),
    "field named time": Poison(rb"uptime_s", b"time", "field 'time' is unknown: station has a lower-case", "station"),
}
"""Classes of poison by name; the drill sends each of them to real databases."""


def good(kind: str, seq: int, epoch: str = EPOCH) -> bytes:
    """Give a good line of a kind, with every field that the kind may have."""
    at = reading(seq).at
    records: dict[str, Record] = {
        "reading": reading(seq),
        "event": Event("lab", EventKind.GAP, "no answer", at, "balance", at + 5, 3, "S"),
        "doubt": Doubt("lab", "balance", "mass", "identity", "another one answers", at, at + 5),
        "station": Health("lab", at, {"acquired": 3, "uptime_s": 1.5, "load": 0.5}, "ab" * 32),
    }
    return encode(records[kind], seq, epoch)
