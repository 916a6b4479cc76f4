"""What is wrong with this core now, in words: one line per cause, with the time it began."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog

log = structlog.get_logger()


class Faults:
    """Faults by key; setting one again keeps its beginning. ``wall_us`` is the server's wall clock."""

    def __init__(self, wall_us: Callable[[], int]) -> None:
        self._wall_us = wall_us
        self._told: dict[str, dict[str, Any]] = {}

    def set(self, key: str, text_en: str, text_zh: str) -> None:
        """There is this fault."""
        if key not in self._told:
            log.error("core.fault", key=key, text=text_en)
        since_us = self._told.get(key, {}).get("since_us", self._wall_us())
        self._told[key] = {"key": key, "text_en": text_en, "text_zh": text_zh, "since_us": since_us}

    def clear(self, key: str) -> None:
        """It is gone, if it was there."""
        if self._told.pop(key, None) is not None:
            log.info("core.fault_over", key=key)

    def hold(self, key: str, is_wrong: bool, text_en: str, text_zh: str) -> None:
        """Set it while ``is_wrong``, clear it otherwise; the English detail follows the Chinese head too."""
        if is_wrong:
            self.set(key, text_en, f"{text_zh}:{text_en}")
        else:
            self.clear(key)

    def told(self) -> list[dict[str, Any]]:
        """All there are, the oldest first."""
        return list(self._told.values())
