"""``fengsui decode``: frames of a field protocol, as JSON for a person or a program."""

from __future__ import annotations

import argparse
import json
import string
import sys
from typing import Any

from fengsui.runtime import OK
from gateway.codecs.gbt26875.layouts import LAYOUTS
from gateway.codecs.gbt26875.profile import PROFILES, Profile
from gateway.codecs.gbt26875.stream import Found, Stream
from gateway.codecs.gbt26875.unit import InfoObject, Unit, decode_unit

SUMMARY = "show what is in the bytes of a field protocol, a line of JSON for each frame"

WRONG_INPUT = 2
_TEXT = frozenset(string.printable.encode())


class NotHex(ValueError):
    """Text that should be hex digits and is not; ``str()`` says where."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The protocol and the bytes."""
    protocols = parser.add_subparsers(dest="protocol", required=True, metavar="gbt26875")
    text = "frames of GB/T 26875.3-2011 (user information transmission devices)"
    sub = protocols.add_parser("gbt26875", help=text, description=text)
    sub.add_argument(
        "hex",
        nargs="+",
        metavar="HEX",
        help="hex digits, blanks between them allowed; or -: read standard input, hex digits as well or the "
        "bytes themselves",
    )
    sub.add_argument(
        "--profile",
        choices=sorted(PROFILES),
        default="standard",
        help="how the maker's devices speak (standard)",
    )


def run(args: argparse.Namespace) -> int:
    """Print a line for each frame and for each stretch that is none; 2 if the input is not bytes."""
    profile = PROFILES[args.profile]
    try:
        data = from_input(sys.stdin.buffer.read()) if args.hex == ["-"] else from_hex(" ".join(args.hex))
    except NotHex as error:
        print(f"fengsui: {error}", file=sys.stderr)
        return WRONG_INPUT
    stream = Stream(bytes.fromhex(profile.end))
    for found in (*stream.feed(data), *stream.close()):
        text = json.dumps(line(found, profile), ensure_ascii=False)
        sys.stdout.buffer.write(text.encode() + b"\n")  # JSON is UTF-8, whatever the terminal is
    return OK


def from_input(data: bytes) -> bytes:
    """The bytes that came on standard input: hex digits are read as hex, whatever cannot be text as it is.

    A frame begins with ``@@``, which is no hex, so what holds that is taken as it is too.

    Raises:
        NotHex: It is text, but no hex.
    """
    is_text = _TEXT.issuperset(data) and b"@@" not in data
    return from_hex(data.decode("ascii")) if is_text else data


def from_hex(text: str) -> bytes:
    """Bytes from hex digits.

    Raises:
        NotHex: Something else is there, half a byte, or nothing.
    """
    for at, character in enumerate(text, 1):
        if character not in string.hexdigits and character not in string.whitespace:
            raise NotHex(f"not hex: {character!r} at position {at}; give digits 0-9, a-f and blanks only")
    digits = "".join(text.split())
    if len(digits) % 2:
        raise NotHex(f"{len(digits)} hex digits are no whole bytes; one is missing or too many")
    if not digits:
        raise NotHex("nothing to decode: give hex digits, or - to read standard input")
    return bytes.fromhex(digits)


def line(found: Found, profile: Profile) -> dict[str, Any]:
    """What is printed for a frame or a refusal."""
    return {
        "ok": found.frame is not None,
        "frame": None if found.frame is None else _frame(found, profile),
        "skipped": found.skipped,
        "error": found.error,
    }


def _frame(found: Found, profile: Profile) -> dict[str, Any]:
    frame = found.frame
    assert frame is not None
    unit = decode_unit(frame.unit, profile)
    return {
        "serial": frame.serial,
        "version": list(frame.version),
        "source": frame.source,
        "destination": frame.destination,
        "command": frame.command,
        "type": unit.type,
        "objects": [_object(unit, item) for item in unit.objects],
        "length": len(frame.unit),
    }


def _object(unit: Unit, item: InfoObject) -> dict[str, Any]:
    """An object's fields; what it does not have is left out, a time or unit nobody knows is null."""
    told: dict[str, Any] = {}
    if unit.is_known and unit.type is not None:
        fields = LAYOUTS[unit.type].fields
        told |= {"time": None} if "time" in fields else {}
        told |= {"unit": None} if "value" in fields else {}
    for field in item.__struct_fields__[1:]:
        value = getattr(item, field)
        if value is None:
            continue
        match field:
            case "operation":
                told["operation"] = unit.operations(item)
            case "uom":
                told["unit"] = value
            case "time":
                told["time"] = value.replace(tzinfo=None).isoformat()
            case _:
                told[field] = value
        if field == "state":
            told["flags"] = unit.flags(item)
    return told | {"raw": item.raw.hex()}
