from __future__ import annotations

import io
import json
import random
import sys
from typing import Any

import pytest

from fengsui.command import main
from gateway.codecs.gbt26875.profile import PROFILES
from gateway.codecs.gbt26875.stream import Stream
from gateway.verb_decode import line
from tests.frames import BAD, GOOD, frame_bytes


def told(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The lines that were printed."""
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def feed(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """Standard input that holds ``data``."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


@pytest.mark.parametrize("vector", GOOD, ids=lambda vector: vector["id"])
def test_a_frame_is_told_as_it_is_meant(vector: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """Every field of the frame, and of its objects those that the source of the frame explains."""
    assert main(["decode", "gbt26875", vector["hex"]]) == 0
    (line,) = told(capsys)
    assert (line["ok"], line["skipped"], line["error"]) == (True, 0, None)
    frame, expected = line["frame"], vector["frame"]
    assert {**frame, "objects": []} == {**expected, "objects": []}
    assert len(frame["objects"]) == len(expected["objects"])
    for item, wanted in zip(frame["objects"], expected["objects"], strict=True):
        assert {name: item[name] for name in wanted} == wanted
        assert item["raw"] in vector["hex"]


@pytest.mark.parametrize("vector", BAD, ids=lambda vector: vector["id"])
def test_a_wrong_frame_is_told_with_the_reason(
    vector: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Not ok, no frame, and the reason in words."""
    assert main(["decode", "gbt26875", vector["hex"]]) == 0
    (line,) = told(capsys)
    assert (line["ok"], line["frame"], line["skipped"]) == (False, None, len(vector["hex"]) // 2)
    assert vector["error"] in line["error"]


def test_hex_may_be_spaced_and_of_either_case(capsys: pytest.CaptureFixture[str]) -> None:
    """In one argument or in many."""
    data = frame_bytes("B1")
    assert main(["decode", "gbt26875", data.hex(" ").upper()]) == 0
    assert main(["decode", "gbt26875", *data.hex(" ").split()]) == 0
    first, second = told(capsys)
    assert first == second
    assert first["frame"]["source"] == 11_111


def test_a_stream_is_read_as_hex_or_as_bytes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From standard input, rubbish between: a line for each frame, the bytes passed over counted."""
    data = b"\x00\x01" + frame_bytes("A1") + b"\xff" + frame_bytes("B1")
    for form in (data, data.hex().encode(), data.hex(" ").upper().encode() + b"\n"):
        feed(monkeypatch, form)
        assert main(["decode", "gbt26875", "-"]) == 0
        assert [(line["frame"]["type"], line["skipped"]) for line in told(capsys)] == [(2, 2), (None, 1)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [("404", "3 hex digits"), ("40 4g", "'g' at position 5"), ("火", "'火' at position 1"), ("", "nothing")],
)
def test_what_is_no_hex_is_refused_with_its_place(
    text: str, reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, one line that says what and where, nothing printed as if it were a result."""
    assert main(["decode", "gbt26875", text]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert reason in err
    if text.isascii():
        feed(monkeypatch, text.encode())
        assert main(["decode", "gbt26875", "-"]) == 2
        assert reason in capsys.readouterr().err


def test_what_fits_no_layout_is_told_with_its_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    """A unit of one byte is a good frame; its type is the byte and its bytes are kept."""
    head = frame_bytes("B1")[2:24] + b"\x01\x00\x02" + b"\x16"
    data = b"@@" + head + bytes((sum(head) & 0xFF,)) + b"##"
    assert main(["decode", "gbt26875", data.hex()]) == 0
    (line,) = told(capsys)
    assert (line["ok"], line["frame"]["type"], line["frame"]["objects"]) == (True, 22, [{"raw": "16"}])


def test_a_profile_reads_another_makers_frames(capsys: pytest.CaptureFixture[str]) -> None:
    """A frame that ends with hex 35 35 is good by the profile of those who send it."""
    data = frame_bytes("B1")[:-2] + b"55"
    assert main(["decode", "gbt26875", "--profile", "end-35", data.hex()]) == 0
    assert [line["ok"] for line in told(capsys)] == [True]


def mutated(chance: random.Random, data: bytes) -> bytes:
    """A frame with bytes changed, lost, doubled, or a checksum made right again over a damaged unit."""
    changed = bytearray(data)
    for _ in range(chance.randrange(4)):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    match chance.randrange(5):
        case 0:
            del changed[chance.randrange(len(changed)) :]
        case 1:
            changed += changed[chance.randrange(len(changed)) :]
        case 2:
            unit = chance.randbytes(chance.randrange(40))
            changed = changed[:24] + bytes((len(unit), 0)) + changed[26:27] + unit
            changed += bytes((sum(changed[2:]) & 0xFF,)) + b"##"
        case _:
            changed[-3] = sum(changed[2:-3]) & 0xFF
    return bytes(changed)


def test_nothing_that_a_device_sends_breaks_the_decoder() -> None:
    """Thousands of damaged frames give lines, by every profile, and good ones behind them are still read."""
    chance = random.Random(26_875)
    good = [bytes.fromhex(vector["hex"]) for vector in GOOD]
    told = 0
    for _ in range(3000):
        profile = PROFILES[chance.choice(sorted(PROFILES))]
        stream = Stream(bytes.fromhex(profile.end))
        data = b"".join(mutated(chance, chance.choice(good)) for _ in range(3))
        for found in (*stream.feed(data), *stream.close()):
            told += bool(json.dumps(line(found, profile)))
    assert told > 3000
