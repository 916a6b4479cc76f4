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
_KEPT_READINGS = 640_000
"""Nothing is decoded again for a store less than this behind. 45 MB of arrays at most."""
_KEPT_CHUNKS = 4_096
"""Chunks of single readings weigh more than what is in them."""


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
        self._kept_readings = 0

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
        self._keep((entries[0].lane, entries[0].n), decoded)
        self._first_seen(decoded)
        return decoded

    def forget(self) -> None:
        """The registry changed: what was decoded before may be bound otherwise now."""
        self._kept.clear()
        self._kept_readings = 0

    def _keep(self, key: tuple[Lane, int], decoded: Decoded) -> None:
        if (before := self._kept.pop(key, None)) is not None:
            self._kept_readings -= before.batch.count
        self._kept[key] = decoded
        self._kept_readings += decoded.batch.count
        while self._kept_readings > _KEPT_READINGS or len(self._kept) > _KEPT_CHUNKS:
            _, oldest = self._kept.popitem(last=False)
            self._kept_readings -= oldest.batch.count
