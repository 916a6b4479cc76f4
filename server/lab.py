"""The lab: recordings and scenarios judged by a draft, beside the rules in force, for engineers.

What simulates lives a floor above the server; its process is started here as a program and never imported.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from fengsui.viewer import Viewer
from server.errands import Errands

WORKER = (sys.executable, "-m", "simulators.lab_worker")


class Sources(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="sources"):
    """What is there to choose from?"""


class Play(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="play", kw_only=True):
    """What do a draft and the rules in force say of it, and what do they know meanwhile?"""

    source: str
    """Id, as of ``Sources``."""
    rules: str
    """The draft, as the text of a rule file."""
    point: str = ""
    """Id of the point to look into; empty: the first that a rule of the draft judges."""


class Keep(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="keep", kw_only=True):
    """Write a span of a signal, and what the draft says of it, into the draft as a rule test."""

    source: str
    rules: str
    point: str
    from_s: float
    """From the beginning of the source, ..."""
    to_s: float
    """... until before this."""
    name: str
    """Of the test."""
    rule: str = ""
    """The rule that the test is about; empty: every rule that says something."""


Question = Sources | Play | Keep


class Job(msgspec.Struct, frozen=True):
    """A question, who asks it, and what the core has to do with the answer."""

    recordings: Path | None
    in_force: str
    """Text of the rules that the core judges by."""
    viewer: Viewer
    question: Question

    def encode(self) -> bytes:
        """One line."""
        return msgspec.json.encode(self, enc_hook=str) + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> Job:
        """The job of a line."""
        return msgspec.json.decode(line, type=cls, dec_hook=lambda kind, text: kind(text))


def lab(
    recordings: Path | None,
    in_force: Callable[[], str],
    *,
    monotonic_s: Callable[[], float] = time.monotonic,
    worker: Sequence[str] = WORKER,
) -> Errands[Question]:
    """The core's lab, with a folder of recordings if any; ``in_force`` gives the rules to compare with.

    Recordings belong to no unit, so only who sees every unit has them.
    """
    return Errands(
        "lab run",
        worker,
        lambda viewer, question: Job(
            recordings if viewer.units is None else None, in_force(), viewer, question
        ).encode(),
        monotonic_s=monotonic_s,
    )
