"""The nemesis is only worth something if a run can be repeated and if it really did what it says."""

from __future__ import annotations

import pytest

from tests.ledger.nemesis import Fault, Nemesis
from tests.waiting import until


async def run(seed: int, cycles: int = 6) -> list[str]:
    """Let a nemesis loose on three harmless faults: what it did."""
    done: list[str] = []

    def fault(name: str) -> Fault:
        async def inject() -> None:
            done.append(f"+{name}")

        async def heal() -> None:
            done.append(f"-{name}")

        return Fault(name, inject, heal)

    faults = [fault(name) for name in ("core", "broker", "gateway")]
    nemesis = Nemesis(seed, faults, up_s=(0, 0.001), down_s=(0, 0.001), tell=lambda line: None)
    await nemesis.run(cycles)
    assert nemesis.faults == cycles
    assert len(nemesis.timeline) == 1 + 2 * cycles
    return done


async def test_the_same_seed_draws_the_same_faults() -> None:
    """A failed run can be repeated from its seed, and another seed is another run."""
    assert await run(7) == await run(7)
    assert {tuple(await run(seed)) for seed in range(5)} != {tuple(await run(7))}


async def test_every_fault_is_healed() -> None:
    """Each injection is followed by its own heal."""
    done = await run(3)
    assert [f"-{name[1:]}" for name in done[::2]] == done[1::2]


async def test_until_names_what_it_waited_for() -> None:
    """A condition that never comes true ends with a message that says which."""
    with pytest.raises(TimeoutError, match=r"the moon rises: not within 0\.05 s \(last seen: 0\)"):
        await until(lambda: 0, 0.05, "the moon rises")


async def test_until_takes_plain_and_async_conditions() -> None:
    """The first true value comes back."""
    values = iter([0, None, 5])

    async def later() -> int | None:
        return next(values)

    assert await until(later, 1, "five", every_s=0) == 5
    assert await until(lambda: "yes") == "yes"
