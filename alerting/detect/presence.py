"""Who is silent: points without usable readings, gateways that say nothing. By the server's monotonic clock.

A point is silent only when its gateway has proved to be alive *after* the point should have reported, so a
dead link is one fault of the gateway and not one of each point behind it. A device without a gateway of ours
(it sends readings and never a hello) proves nothing between two readings; its points have a longer patience
and the device itself is never *offline*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from alerting.detect.rules import RuleSet, Silence
from alerting.detect.scope import EVERYWHERE, Places
from fengsui.model import Point

MAX_GATEWAYS = 10_000
"""Gateways followed; each needs a user of its own at the broker, so more is no fleet but an attack."""

_UNHEARD, _GATEWAY, _PLAIN = 0, 1, 2


class Presence:
    """When each point and each gateway was last heard; ``now_s`` is the server's monotonic clock everywhere.

    All timers start at ``now_s``, the start of the process: whoever was registered and never speaks is a
    fault like any other silence.
    """

    def __init__(self, rules: RuleSet, points: Sequence[Point], now_s: float) -> None:
        self._rules = rules
        self._start_s = now_s
        self._number: dict[str, int] = {}
        self.gateways: list[str] = []
        self._seen_s = np.empty(0)
        self._connected_s = np.empty(0)
        self._lost_s = np.empty(0)
        self._kind = np.empty(0, np.int8)
        self._offline = np.empty(0, np.bool_)
        self._heard_s = np.empty(0)
        self._silent = np.empty(0, np.bool_)
        self.follow(points, now_s)

    @property
    def nbytes(self) -> int:
        """Bytes of state for all points."""
        arrays = (self._heard_s, self._silent, self._gateway, self._after_s, self._plain_after_s, self._rule)
        return sum(array.nbytes for array in arrays)

    def follow(self, points: Sequence[Point], now_s: float) -> None:
        """Take over a changed registry; the timers of new points start now."""
        self._points: list[Point] = []
        self._rule = np.empty(0, np.int16)
        self._after_s = self._plain_after_s = np.empty(0, np.float32)
        self._gateway = np.empty(0, np.int32)
        self.grow(points, now_s)

    def grow(self, added: Sequence[Point], now_s: float) -> None:
        """Take over further points; their timers start now."""
        self._points += added
        more, count = len(self._points) - len(self._heard_s), len(added)
        self._heard_s = np.append(self._heard_s, np.full(more, now_s))
        self._silent = np.append(self._silent, np.zeros(more, np.bool_))
        rules = self._rules.silence
        rule = _assigned(rules, added)
        self._rule = np.append(self._rule, rule)
        after_s = np.array([rule.after_s for rule in rules], np.float32)
        plain_after_s = np.array([rule.plain_after_s for rule in rules], np.float32)
        self._after_s = np.append(self._after_s, after_s[rule])
        self._plain_after_s = np.append(self._plain_after_s, plain_after_s[rule])
        gateway = np.fromiter((self._enter(p.gateway, now_s) for p in added), np.int32, count)
        self._gateway = np.append(self._gateway, gateway)

    def adopt(self, rules: RuleSet, now_s: float) -> None:
        """Take over changed rules; who is silent or offline by a rule of another name is so anew."""
        named = [self.rule_of(index).name for index in range(len(self._silent))]
        if rules.offline.name != self._rules.offline.name:
            self._offline[:] = False
        self._rules = rules
        self.follow(self._points, now_s)
        self._silent &= np.array([self.rule_of(index).name == name for index, name in enumerate(named)], bool)

    def heard(self, point: NDArray[np.intp], usable: NDArray[np.bool_], now_s: float) -> list[int]:
        """Readings of these points came in, the marked ones usable; the points that were silent until now."""
        gateway = self._gateway[point]
        self._seen_s[gateway] = now_s
        unheard = gateway[self._kind[gateway] == _UNHEARD]
        self._kind[unheard] = _PLAIN  # until it says hello
        usable_point = point[usable]
        self._heard_s[usable_point] = now_s
        if not self._silent[usable_point].any():
            return []
        back = np.unique(usable_point[self._silent[usable_point]])
        self._silent[back] = False
        return [int(index) for index in back]

    def seen(self, gateway: str, now_s: float, *, connected: bool, hello: bool) -> None:
        """A message of ``gateway`` came in; ``connected`` with the first one of a connection."""
        if gateway not in self._number and len(self.gateways) >= MAX_GATEWAYS:
            return
        number = self._enter(gateway, now_s)
        self._seen_s[number] = now_s
        if hello:
            self._kind[number] = _GATEWAY
        if connected:
            self._connected_s[number] = now_s

    def back_online(self) -> list[str]:
        """The gateways that were offline and have been heard since; they are online from now on."""
        back = np.flatnonzero(self._offline & (self._seen_s > self._lost_s))
        self._offline[back] = False
        self._connected_s[back] = self._seen_s[back]
        return [self.gateways[number] for number in back]

    def lost(self, now_s: float) -> list[str]:
        """The gateways that went offline by now."""
        limit = self._rules.offline.after_s
        lost = ~self._offline & (self._kind != _PLAIN) & (now_s - self._seen_s > limit)
        self._offline |= lost
        self._lost_s[lost] = now_s
        return [self.gateways[number] for number in np.flatnonzero(lost)]

    def fallen_silent(self, now_s: float) -> list[int]:
        """The points that fell silent by now; not those behind an offline gateway."""
        if not len(self._heard_s):
            return []
        plain = (self._kind == _PLAIN)[self._gateway]
        alive_s = np.where(self._kind == _PLAIN, now_s, self._seen_s)[self._gateway]
        since_s = np.maximum(self._heard_s, self._connected_s[self._gateway])
        patience_s = np.where(plain, self._plain_after_s, self._after_s)
        due = ~self._silent & ~self._offline[self._gateway] & (alive_s - since_s > patience_s)
        self._silent |= due
        return [int(index) for index in np.flatnonzero(due)]

    def rule_of(self, point: int) -> Silence:
        """The silence rule of a point."""
        return self._rules.silence[int(self._rule[point])]

    def is_offline(self, gateway: str) -> bool:
        """Whether the gateway counts as offline."""
        number = self._number.get(gateway)
        return number is not None and bool(self._offline[number])

    def points_of(self, gateway: str) -> int:
        """How many registered points speak through ``gateway``."""
        number = self._number.get(gateway)
        return 0 if number is None else int(np.count_nonzero(self._gateway == number))

    def silent_of(self, gateway: str) -> int:
        """How many of them are silent."""
        number = self._number.get(gateway)
        return 0 if number is None else int(np.count_nonzero(self._silent & (self._gateway == number)))

    def assume(self, silent: Sequence[int], offline: Sequence[str]) -> None:
        """Take over from the alarm book which points and gateways stand recorded as silent and offline."""
        self._silent[:] = False
        self._silent[[index for index in silent if index < len(self._silent)]] = True
        self._offline[:] = False
        for gateway in offline:
            number = self._enter(gateway, self._start_s)
            self._offline[number] = True
            self._lost_s[number] = self._start_s

    def state(self) -> dict[str, NDArray[np.generic]]:
        """What outlives the process: which gateways speak the contract. Timers start anew with it."""
        return {"gateways": np.array(self.gateways, dtype=np.str_), "kind": self._kind.copy()}

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over ``state()`` of an earlier process."""
        for gateway, kind in zip(state["gateways"].tolist(), state["kind"].tolist(), strict=True):
            self._kind[self._enter(str(gateway), self._start_s)] = kind

    def _enter(self, gateway: str, now_s: float) -> int:
        number = self._number.get(gateway)
        if number is not None:
            return number
        number = self._number[gateway] = len(self.gateways)
        self.gateways.append(gateway)
        self._seen_s = np.append(self._seen_s, now_s)
        self._connected_s = np.append(self._connected_s, now_s)
        self._lost_s = np.append(self._lost_s, now_s)
        self._kind = np.append(self._kind, np.int8(_UNHEARD))
        self._offline = np.append(self._offline, False)
        return number


def _assigned(rules: Sequence[Silence], points: Sequence[Point]) -> NDArray[np.int16]:
    """The number of the rule that counts at each point."""
    places, quantity = Places(points), np.array([p.quantity for p in points], np.str_)
    ranked = sorted(range(len(rules)), key=lambda n: (rules[n].scope == EVERYWHERE, not rules[n].quantity))
    assigned = np.zeros(len(points), np.int16)
    for number in reversed(ranked):
        fits = places.covered(rules[number].scope)
        if rules[number].quantity:
            fits &= quantity == rules[number].quantity
        assigned[fits] = number
    return assigned
