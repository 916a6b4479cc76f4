"""What is wrong with the core, in words."""

from __future__ import annotations

from server.faults import Faults


def test_a_fault_keeps_its_beginning() -> None:
    """Told again with other words it is still the fault that began then."""
    now = [100]
    faults = Faults(lambda: now[0])
    faults.set("store", "down", "停")
    now[0] = 200
    faults.set("store", "still down", "仍停")
    (told,) = faults.told()
    assert told == {"key": "store", "text_en": "still down", "text_zh": "仍停", "since_us": 100}


def test_a_fault_that_comes_back_begins_anew() -> None:
    """Cleared is gone; the next one is another."""
    now = [1]
    faults = Faults(lambda: now[0])
    faults.hold("journal", True, "90 % full", "日志将满")
    faults.hold("journal", False, "", "")
    assert faults.told() == []
    now[0] = 7
    faults.hold("journal", True, "90 % full", "日志将满")
    assert [fault["since_us"] for fault in faults.told()] == [7]


def test_clearing_what_is_not_there_is_nothing() -> None:
    """No cause needs to know whether it was told."""
    faults = Faults(lambda: 0)
    faults.clear("never")
    assert faults.told() == []
