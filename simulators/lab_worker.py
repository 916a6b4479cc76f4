"""``python -m simulators.lab_worker``: one question of the lab in a process of its own, for the core."""

from __future__ import annotations

import sys
from collections.abc import Callable

import msgspec

from alerting.rulebook.file import parse
from server.errand import Progress, serve
from server.lab import Job, Keep, Play, Sources
from simulators.lab import Report, keep, play
from simulators.takes import Source, sources, take


class Kept(msgspec.Struct, frozen=True):
    """A draft with a test more."""

    text: str
    test: str
    said: list[str]


def work(line: bytes, progress: Callable[[Progress], None]) -> list[Source] | Report | Kept:
    """Answer the question of a line.

    Raises:
        FengsuiError: It cannot be answered as asked.
    """
    job = Job.decode(line)
    match job.question:
        case Sources():
            return sources(job.recordings)
        case Play() as asked:
            ours, theirs = parse(asked.rules, "draft").rules, parse(job.in_force, "in force").rules
            chosen = take(asked.source, job.recordings)
            readings = 2 * len(chosen.piece.delivery.value)

            def tell(share: float) -> None:
                at_us = chosen.piece.begin_us + round(share * chosen.piece.length_s * 1e6)
                progress(Progress(at_us, round(share * readings)))

            return play(chosen, ours, theirs, asked.point, tell)
        case Keep() as asked:
            chosen, draft = take(asked.source, job.recordings), parse(asked.rules, "draft")
            written = keep(chosen, draft, asked.point, asked.from_s, asked.to_s, asked.name, asked.rule)
            return Kept(written.text, written.test, [str(one) for one in written.said])


if __name__ == "__main__":
    sys.exit(serve(work))
