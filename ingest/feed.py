"""The journal, decoded once for both readers.

Detection and the store follow the journal with cursors of their own. Who comes second to an entry gets the
chunk that the first one had decoded from there on, so while both are near its end they go by the same chunks.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from fengsui.journal import Cursor, Journal
from fengsui.model import Lane
from ingest.decode import Decoded, Decoder

CHUNK_READINGS = 5_000
_KEPT = 128
"""Chunks: nothing is decoded again for a store less than 640,000 readings behind. 45 MB of arrays at most."""


class Feed:
    """Decoded journal entries.

    Args:
        journal: What is read.
        decoder: Who decodes.
        first_seen: Told of each chunk when it is decoded; a chunk read again after it was forgotten is
            told again.
    """

    def __init__(self, journal: Journal, decoder: Decoder, first_seen: Callable[[Decoded], None]) -> None:
        self._journal = journal
        self._decoder = decoder
        self._first_seen = first_seen
        self._kept: OrderedDict[tuple[Lane, int], Decoded] = OrderedDict()

    async def read(self, cursor: Cursor) -> Decoded:
        """What follows a cursor: up to ``CHUNK_READINGS`` of one lane, the alarm lane first; waits for it."""
        end = self._journal.end()
        for lane in (Lane.ALARM, Lane.TELEMETRY):
            if cursor[lane] < end[lane]:
                kept = self._kept.get((lane, cursor[lane] + 1))
                if kept is not None:
                    return kept
                break
        entries = await self._journal.read(cursor, max_readings=CHUNK_READINGS)
        decoded = self._decoder.decode(entries)
        self._kept[entries[0].lane, entries[0].n] = decoded
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        self._first_seen(decoded)
        return decoded

    def forget(self) -> None:
        """The registry changed: what was decoded before may be bound otherwise now."""
        self._kept.clear()
