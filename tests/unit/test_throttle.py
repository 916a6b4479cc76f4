from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fengsui.throttle import Throttle


def test_sixth_try_in_a_minute_is_refused_and_the_next_minute_is_free() -> None:
    """Five tries a minute pass, the sixth does not, and a minute later they pass again."""
    throttle = Throttle()
    assert [throttle.take(["a"], now) for now in range(6)] == [True] * 5 + [False]
    assert throttle.take(["a"], 60.5)


def test_a_key_used_up_refuses_all_and_counts_nothing() -> None:
    """A name that is used up is refused from any address, and costs that address nothing."""
    throttle = Throttle()
    for _ in range(5):
        throttle.take(["name", "address 1"], 0.0)
    assert not throttle.take(["name", "address 2"], 0.0)
    assert [throttle.take(["address 2"], 0.0) for _ in range(6)] == [True] * 5 + [False]


def test_right_password_gives_its_try_back() -> None:
    """Signing in properly any number of times uses nothing up."""
    throttle = Throttle()
    for _ in range(20):
        assert throttle.take(["a"], 0.0)
        throttle.give_back(["a"])


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 20)), max_size=200))
def test_never_more_than_the_limit_in_any_window(tries: list[tuple[int, float]]) -> None:
    """Whatever comes when: no key passes more than five times within any minute."""
    throttle, now, passed = Throttle(), 0.0, []
    for key, wait in tries:
        now += wait
        if throttle.take([str(key)], now):
            passed.append((key, now))
    for key, at in passed:
        assert sum(one == key and at - 60 < then <= at for one, then in passed) <= 5


def test_invented_names_cost_bounded_memory() -> None:
    """A flood of names keeps only as many as the bound says."""
    throttle = Throttle(keys=100)
    for i in range(1000):
        throttle.take([f"name {i}"], 0.0)
    assert len(throttle._tries) == 100
