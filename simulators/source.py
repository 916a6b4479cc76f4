"""A YAML file whose every part knows its line, read into structs: who gets it wrong is told where and why.

YAML's traps are closed: no anchors, tags, duplicate keys or second documents, and what YAML would turn into
a date has to be put in quotes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import yaml

from fengsui.errors import UsageError

T = TypeVar("T")

_SCALARS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null"))
_ERROR = re.compile(r"(?P<why>.*?)(?: - at `\$(?P<path>.*)`)?", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`")
_INDEX = re.compile(r"\[[0-9]+\]$")
_MISSING = re.compile(r"Object missing required field `(.*)`")


class SourceError(UsageError):
    """A file that cannot be used; the text names file, line and reason."""


class Source:
    """The content of a file.

    Args:
        text: YAML.
        name: Of the file, for messages.

    Raises:
        SourceError: It is not YAML, or uses what is not understood here.
    """

    def __init__(self, text: str, name: str) -> None:
        self.name = name
        self._places: dict[str, str] = {}
        self._seen: set[int] = set()
        loader = yaml.SafeLoader(text)
        try:
            self.data = self._value(loader, loader.get_single_node(), "")
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise SourceError(f"{name}:{line}: is not YAML: {error.problem}") from error
        except yaml.YAMLError as error:
            raise SourceError(f"{name}:1: is not YAML: {error}") from error
        finally:
            loader.dispose()

    def read(
        self,
        kind: type[T],
        hook: Callable[[type, object], object],
        choices: Mapping[str, Sequence[str]],
    ) -> T:
        """The content as ``kind``.

        Args:
            kind: A struct.
            hook: Makes the types that msgspec does not know.
            choices: What a key may say, for who says something else.

        Raises:
            SourceError: It does not fit; says the line, the part and why.
        """
        try:
            return msgspec.convert(self.data, kind, dec_hook=hook)
        except msgspec.ValidationError as error:
            match = _ERROR.fullmatch(str(error))
            assert match is not None
            why, path = match["why"], (match["path"] or "").removeprefix(".")
            if unknown := _UNKNOWN.fullmatch(why):
                path, why = f"{path}.{unknown[1]}".removeprefix("."), "unknown key"
            elif missing := _MISSING.fullmatch(why):
                why = f"`{missing[1]}` is missing"
            elif known := choices.get(_INDEX.sub("", path).rpartition(".")[2]):
                why = f"{why}; there are {', '.join(known)}"
            raise self.refuse(path, why) from error

    def refuse(self, path: str, why: str) -> SourceError:
        """An error about a part."""
        return SourceError(f"{self.place(path)}: {path}{': ' if path else ''}{why}")

    def place(self, path: str) -> str:
        """``file:line`` of a part such as ``timeline[2].growth``, or of the nearest one around it."""
        while path and path not in self._places:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self._places.get(path, f"{self.name}:1")

    def graft(self, key: str, text: str, name: str) -> None:
        """Add one more item, from elsewhere, to the list at ``key``.

        Raises:
            SourceError: As for a file.
        """
        other = Source(text, name)
        if isinstance(self.data, dict):
            items = self.data.setdefault(key, [])
            if isinstance(items, list):
                root = f"{key}[{len(items)}]"
                items.append(other.data)
                for path, place in other._places.items():
                    self._places[f"{root}.{path}" if path else root] = place

    def _value(self, loader: yaml.SafeLoader, node: Any, path: str) -> object:
        if node is None:
            raise SourceError(f"{self.name}:1: is empty")
        self._places.setdefault(path, self._place(node))
        if id(node) in self._seen:
            raise self.refuse(path, "anchors (& and *) are not understood here; write it out")
        self._seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            return [self._value(loader, item, f"{path}[{i}]") for i, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            found: dict[str, object] = {}
            for key_node, item in node.value:
                key = str(key_node.value)
                inner = f"{path}.{key}" if path else key
                if key in found:
                    raise SourceError(f"{self._place(key_node)}: {inner}: is there twice")
                self._places[inner] = self._place(key_node)
                found[key] = self._value(loader, item, inner)
            return found
        if node.tag not in _SCALARS:
            kind = node.tag.rpartition(":")[2]
            raise self.refuse(path, f"{node.value!r} is read as a {kind}; put it in quotes")
        value: object = loader.construct_object(node)
        return value

    def _place(self, node: Any) -> str:
        return f"{self.name}:{node.start_mark.line + 1}"
