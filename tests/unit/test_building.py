from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.drivers.building import MAX_CATCH_UP_S, Air, Fire, Fires
from gateway.drivers.district import rooms, signals
from gateway.drivers.fire import MAX_RISE_K, Growth

ROOM, NEXT, FAR = "b1-3-02", "b1-3-03", "b2-1-01"


def burning(room: str = ROOM) -> Fires:
    """The district with a demo fire just lit in ``room``."""
    fires = Fires(rooms())
    fires.ignite(room, Fire())
    return fires


def seconds_until(fires: Fires, room: str, rise_k: float, limit_s: int = 900) -> int:
    """How long the heat detector of ``room`` takes to rise by ``rise_k``."""
    for t_s in range(limit_s):
        if fires.air(room).element_k >= rise_k:
            return t_s
        fires.step(1.0)
    raise AssertionError(f"{room} never rose by {rise_k} K")


def test_heat_detector_passes_57_degc_within_half_a_minute() -> None:
    """In every room, the demo fire lifts the detector by 35 K (22 to 57 degC) in at most 32 s."""
    slowest = max(seconds_until(burning(room), room, 35.0) for room in rooms())
    assert slowest <= 32


def test_smoke_is_seen_before_heat() -> None:
    """When the smoke detector passes 5 %/m, the heat detector has not risen by 10 K."""
    fires = burning()
    while fires.air(ROOM).chamber_pct_m < 5.0:
        fires.step(1.0)
    assert fires.air(ROOM).element_k < 10.0


def test_fire_reaches_the_next_room_later_and_no_other_building() -> None:
    """The neighbour's smoke follows by at least 20 s; a building without a door to it stays clean."""
    fires, own_s, next_s = burning(), 0, 0
    while fires.air(NEXT).chamber_pct_m < 10.0:
        fires.step(1.0)
        next_s += 1
        own_s += fires.air(ROOM).chamber_pct_m < 10.0
    assert own_s + 20 <= next_s <= 180
    fires.step(120.0)
    assert fires.air(FAR) == Air()


@settings(max_examples=30, deadline=None)
@given(
    growth=st.sampled_from(Growth),
    peak_kw=st.floats(1, 10_000),
    steps=st.lists(st.floats(0, 30), min_size=1, max_size=20),
)
def test_air_stays_bounded_and_rises_while_the_fire_grows(
    growth: Growth, peak_kw: float, steps: list[float]
) -> None:
    """Whatever fire and steps, every room stays in bounds, and the burning room never gets cleaner."""
    fires = Fires(rooms())
    fires.ignite(ROOM, Fire(growth=growth, peak_kw=peak_kw, load_kj=1e9))
    before = fires.air(ROOM)
    soot, element_k = before.soot_g_m3, before.element_k
    for dt_s in steps:
        fires.step(dt_s)
        air = fires.air(ROOM)
        if dt_s >= 1:
            assert air.soot_g_m3 >= soot
            assert air.element_k >= element_k
        soot, element_k = air.soot_g_m3, air.element_k
        for room in rooms():
            near = fires.air(room)
            assert 0 <= near.rise_k <= MAX_RISE_K
            assert 0 <= near.element_k <= MAX_RISE_K
            assert 0 <= near.chamber_pct_m <= 100
            assert near.co_ppm >= 0


def test_fire_burns_out_and_the_air_clears() -> None:
    """A fire ends when its load is burnt; after that the rooms cool, clear, and are no longer computed."""
    fires = burning()
    for _ in range(20):
        fires.step(100.0)
    assert fires.burning == []
    for _ in range(60):
        fires.step(300.0)
    assert all(fires.air(room) == Air() for room in rooms())


def test_water_ends_a_fire_at_once() -> None:
    """After ``put_out`` nothing burns, and the detector is cooler a minute later."""
    fires = burning()
    fires.step(60.0)
    hot_k = fires.air(ROOM).element_k
    fires.put_out()
    assert fires.burning == []
    fires.step(60.0)
    assert fires.air(ROOM).element_k < hot_k


def test_a_second_fire_in_a_burning_room_changes_nothing() -> None:
    """Starting a fire twice is starting it once."""
    once, twice = burning(), burning()
    once.step(20.0)
    twice.step(10.0)
    twice.ignite(ROOM, Fire())
    twice.step(10.0)
    assert twice.air(ROOM) == once.air(ROOM)


def test_a_long_pause_is_bounded() -> None:
    """A suspended machine's hour passes as five minutes, so a wake-up costs a bounded time."""
    slept, stepped = burning(), burning()
    slept.step(3600.0)
    stepped.step(MAX_CATCH_UP_S)
    assert slept.air(ROOM) == stepped.air(ROOM)


def test_district_names_each_point_once_and_doors_are_mutual() -> None:
    """200 points with distinct names; a room's neighbours know it as theirs."""
    assert len({signal.name for signal in signals()}) == len(signals()) == 200
    for room in rooms().values():
        assert all(room.id in rooms()[near].neighbours for near in room.neighbours)
