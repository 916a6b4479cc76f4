"""YAML as a tree that knows its lines: no anchors, no tags, no key twice, nothing that turns into another.

Read event by event, bounded in size and depth. Values are those of YAML 1.2: only ``true`` and ``false`` are
no text, so ``no`` is the word, and ``12:30`` is no number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

import msgspec
import yaml

from alerting.errors import Problem
from fengsui.settings import explain

MAX_BYTES = 1 << 20
MAX_DEPTH = 12

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
_PATH = re.compile(r"\.([^.\[\]`]+)|\[(\d+)\]")

T = TypeVar("T")


class Malformed(ValueError):
    """Text that is no such document."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.problem = Problem(line, text)


class Node(NamedTuple):
    """A value and the line where a person finds it: that of its key, or of the value itself in a list."""

    line: int
    value: Any
    """A mapping of str to Node, a list of Node, or a text, number, truth value or None."""

    def plain(self) -> Any:
        """The value without its lines."""
        match self.value:
            case dict():
                return {key: node.plain() for key, node in self.value.items()}
            case list():
                return [node.plain() for node in self.value]
        return self.value

    def at(self, path: str) -> Node:
        """The node that a path such as ``.scope.zone[1]`` leads to, as far as there is one."""
        node = self
        for key, number in _PATH.findall(path):
            if isinstance(node.value, dict) and key in node.value:
                node = node.value[key]
            elif isinstance(node.value, list) and number and int(number) < len(node.value):
                node = node.value[int(number)]
            else:
                break
        return node

    def convert(self, type_: type[T], what: str) -> T:
        """The value as ``type_``.

        Raises:
            Malformed: It does not fit; the text begins with ``what`` and names the key.
        """
        try:
            return msgspec.convert(self.plain(), type_)
        except msgspec.ValidationError as error:
            message, _, path = str(error).partition(" - at `$")
            node = self.at(path)
            if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", message):
                node = node.at(f".{unknown[1]}")
            text = explain(str(error), type_).replace("text in quotes", "text")
            raise Malformed(node.line, f"{what}: {text}") from error


def read(text: str) -> Node:
    """The one document in ``text``; an empty one is an empty mapping.

    Raises:
        Malformed: It is not YAML, or more than is understood here.
    """
    if len(text) > MAX_BYTES:
        raise Malformed(0, f"{len(text)} characters; at most {MAX_BYTES}")
    try:
        events = iter(yaml.parse(text, Loader=_LOADER))
        next(events)  # the start of the stream
        if isinstance(next(events), yaml.StreamEndEvent):
            return Node(1, {})
        root = _node(next(events), events, 0)
        next(events)  # the end of the document
        if not isinstance(event := next(events), yaml.StreamEndEvent):
            raise Malformed(_line(event), "a second document; keep everything in one")
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise Malformed(line, f"is not YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise Malformed(0, f"is not YAML: {error}") from error
    return root


def _node(event: Any, events: Iterator[Any], depth: int) -> Node:
    line = _line(event)
    if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
        raise Malformed(line, "anchors are not used here; write the value itself, or use a template")
    if event.tag is not None:
        raise Malformed(line, f"{event.tag} is a tag of YAML; put text that begins with ! in quotes")
    if depth > MAX_DEPTH:
        raise Malformed(line, f"more than {MAX_DEPTH} levels inside each other")
    match event:
        case yaml.MappingStartEvent():
            return Node(line, _mapping(events, depth))
        case yaml.SequenceStartEvent():
            items = []
            while not isinstance(event := next(events), yaml.SequenceEndEvent):
                items.append(_node(event, events, depth + 1))
            return Node(line, items)
    return Node(line, _scalar(event))


def _mapping(events: Iterator[Any], depth: int) -> dict[str, Node]:
    entries: dict[str, Node] = {}
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        line = _line(event)
        key = _node(event, events, depth + 1)
        if not isinstance(event, yaml.ScalarEvent):
            raise Malformed(line, "a key must be a word")
        name: str = event.value
        if name in entries:
            raise Malformed(line, f"key `{name}` is there twice; line {entries[name].line} has it too")
        entries[name] = key._replace(value=_node(next(events), events, depth + 1).value)
    return entries


def _scalar(event: Any) -> object:
    text: str = event.value
    if not event.implicit[0]:  # in quotes, or a block
        return text
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _WHOLE.fullmatch(text):
        return int(text) if len(text) < 20 else float(text)
    return float(text) if _NUMBER.fullmatch(text) else text


def _line(event: Any) -> int:
    line: int = event.start_mark.line
    return line + 1
