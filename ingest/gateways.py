"""The gateways as the server sees them: last word, presence, the wire's balance. Pure, time is given."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fengsui.journal import Account, Journal
from fengsui.model import Lane
from fengsui.wire import MAX_BODY, Hello, LaneState
from ingest.conservation import WireBalance

OFFLINE_S = 65.0
"""Silent for this long by the server's receive clock: the gateway is offline (wire contract)."""


@dataclass(slots=True)
class GatewayState:
    """One gateway; ``seen_s`` is monotonic seconds, ``seen_us`` the server's wall clock."""

    name: str
    seen_s: float
    seen_us: int
    hello: Hello | None = None
    conflicts: int = 0
    ahead: int = 0
    duplicates: int = 0
    unreadable: int = 0
    lost: int = 0
    faults: list[str] = field(default_factory=list)

    def is_online(self, now_s: float) -> bool:
        """Heard of within the time that the contract gives it?"""
        return now_s - self.seen_s < OFFLINE_S


class Gateways:
    """Every gateway that was ever heard since this process began."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._states: dict[str, GatewayState] = {}

    def heard(self, gateway: str, now_s: float, now_us: int) -> GatewayState:
        """A message of this gateway arrived."""
        state = self._states.get(gateway)
        if state is None:
            state = self._states[gateway] = GatewayState(gateway, now_s, now_us)
        state.seen_s, state.seen_us = now_s, now_us
        return state

    def __iter__(self) -> Iterator[GatewayState]:
        return iter(self._states.values())

    def get(self, gateway: str) -> GatewayState | None:
        """What is known of one gateway."""
        return self._states.get(gateway)

    def balances(self) -> list[WireBalance]:
        """The wire balance of every lane of every gateway's present spool."""
        return [
            balance_of(state.name, state.hello.spool, lane, lane_state, account)
            for state in self._states.values()
            if state.hello is not None
            for lane, lane_state in state.hello.lanes.items()
            if (account := self._account(state.name, state.hello.spool, lane)) is not None
        ]

    def status(self, now_s: float) -> list[dict[str, Any]]:
        """What the console shows of every gateway."""
        residues: dict[str, int] = {}
        for balance in self.balances():
            residues[balance.gateway] = residues.get(balance.gateway, 0) + abs(balance.residue)
        return [self._status(state, now_s, residues.get(state.name, 0)) for state in self._states.values()]

    def _account(self, gateway: str, spool: str, lane: Lane) -> Account | None:
        return self._journal.accounts(lane).get(gateway, {}).get(int(spool, 16))

    def _status(self, state: GatewayState, now_s: float, residue: int) -> dict[str, Any]:
        hello = state.hello
        lanes: dict[str, Any] = {}
        for lane, reported in hello.lanes.items() if hello else ():
            account = self._account(state.name, hello.spool, lane) if hello else None
            if account is not None and hello is not None:
                balance = balance_of(state.name, hello.spool, lane, reported, account)
                lanes[lane] = {
                    "first": reported.first,
                    "next": balance.next,
                    "upto": account.marks.upto,
                    "committed": balance.committed,
                    "waiting": balance.waiting,
                    "shed": account.shed,
                    "lost": account.lost,
                    "missing": account.marks.missing()[:20],
                    "oldest_age_ms": reported.oldest_age_ms,
                }
        faults = list(hello.faults) if hello else []
        if state.conflicts:
            faults.append(f"{state.conflicts} records came under numbers that other records already have")
        if state.lost:
            faults.append(f"{state.lost} records were lost after the server had committed later ones")
        if residue:
            faults.append(f"{residue} records are not accounted for")
        return {
            "gateway": state.name,
            "online": state.is_online(now_s),
            "last_seen_us": state.seen_us,
            "age_s": round(now_s - state.seen_s, 1),
            "spool": hello.spool if hello else None,
            "lanes": lanes,
            "clock": hello.clock if hello else None,
            "points": hello.points if hello else 0,
            "silent": hello.silent if hello else 0,
            "temperature_c": hello.temperature_c if hello else None,
            "rss_mb": hello.rss_mb if hello else None,
            "disk_free": hello.disk_free if hello else None,
            "written_today": hello.written_today if hello else None,
            "autonomy_h": hello.autonomy_h if hello else None,
            "duplicates": state.duplicates,
            "residue": residue,
            "faults": faults,
        }


def balance_of(gateway: str, spool: str, lane: Lane, state: LaneState, account: Account) -> WireBalance:
    """The balance of one lane: what the gateway says it still holds against what the server has seen."""
    marks = account.marks
    end = max(state.next - 1, marks.highest)
    waiting = end - state.first + 1 - marks.count(state.first, end)
    return WireBalance(
        gateway=gateway,
        spool=spool,
        lane=lane,
        next=end + 1,
        committed=account.received,
        waiting=max(0, waiting),
        shed=account.shed,
        lost=account.lost,
    )


def decode_hello(payload: bytes) -> Hello:
    """A hello, its spool checked.

    Raises:
        msgspec.DecodeError: Not a hello of this contract.
    """
    if len(payload) > MAX_BODY:
        raise msgspec.ValidationError(f"a hello of {len(payload)} bytes; at most {MAX_BODY}")
    hello = _hello.decode(payload)
    if not _SPOOL.fullmatch(hello.spool) or not int(hello.spool, 16):
        raise msgspec.ValidationError(f"not a spool identity: {hello.spool[:40]!r}")
    for state in hello.lanes.values():
        if state.first > state.next:
            raise msgspec.ValidationError(f"a lane from {state.first} to {state.next} cannot be")
    return hello


_SPOOL = re.compile(r"[0-9a-f]{16}")
_hello = msgspec.json.Decoder(Hello)
