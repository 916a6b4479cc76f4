"""Frames of GB/T 26875.3-2011 from makers and other implementations: the data of several tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "vectors/gbt26875.json").read_text(encoding="utf-8")
)
"""Each with ``id``, ``hex``, ``meaning``, and ``frame`` as it must be told or ``error``, its reason."""

GOOD = [vector for vector in VECTORS if "frame" in vector]
BAD = [vector for vector in VECTORS if "error" in vector]


def frame_bytes(name: str) -> bytes:
    """The bytes of the vector with this id."""
    return bytes.fromhex(next(vector["hex"] for vector in VECTORS if vector["id"] == name))
