"""Answers of the oracle as JUnit XML, which every CI server can show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from simulators.oracle import Answer


class Suite(NamedTuple):
    """One scenario."""

    name: str
    answers: Sequence[Answer]
    took_s: float


def junit(suites: Iterable[Suite]) -> bytes:
    """The XML file: a suite per scenario, a case per line of its oracle."""
    root = Element("testsuites")
    for suite in suites:
        failed = sum(not answer.holds for answer in suite.answers)
        counts = {"tests": str(len(suite.answers)), "failures": str(failed), "time": f"{suite.took_s:.3f}"}
        element = SubElement(root, "testsuite", {"name": suite.name, **counts})
        for answer in suite.answers:
            file, _, line = answer.place.rpartition(":")
            names = {"classname": suite.name, "name": answer.wanted, "file": file, "line": line}
            case = SubElement(element, "testcase", names)
            if not answer.holds:
                SubElement(case, "failure", {"message": f"got {answer.got}"}).text = answer.place
    indent(root)
    text: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return text
