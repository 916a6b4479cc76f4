"""How often somebody may try: a sliding minute per key, bounded in memory, time as an argument."""

from __future__ import annotations

from collections import OrderedDict


class Throttle:
    """Allow ``limit`` tries per ``window_s`` for each key.

    Holds at most ``keys`` keys; beyond that the key that was quiet longest is forgotten, so a flood
    of invented names costs memory of a fixed size and never locks out a name in use.
    """

    def __init__(self, limit: int = 5, window_s: float = 60.0, keys: int = 10_000) -> None:
        self.limit = limit
        self.window_s = window_s
        self.keys = keys
        self._tries: OrderedDict[str, list[float]] = OrderedDict()

    def take(self, keys: list[str], now_s: float) -> bool:
        """Count one try for every key; False (and nothing counted) if any key is used up."""
        fresh = {key: [at for at in self._tries.get(key, ()) if at > now_s - self.window_s] for key in keys}
        if any(len(tries) >= self.limit for tries in fresh.values()):
            return False
        for key, tries in fresh.items():
            tries.append(now_s)
            self._tries[key] = tries
            self._tries.move_to_end(key)
        while len(self._tries) > self.keys:
            self._tries.popitem(last=False)
        return True

    def give_back(self, keys: list[str]) -> None:
        """Uncount the newest try of every key: it was a right password, not a guess."""
        for key in keys:
            if tries := self._tries.get(key):
                tries.pop()
