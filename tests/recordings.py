"""Where the recordings are; tests that need them are skipped, with the reason, on a machine without."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("FENGSUI_DATA", Path(__file__).parents[2] / "shared" / "data"))


def recordings() -> Path:
    """The folder with ``manifest.csv``; skips the test without it."""
    if not (ROOT / "manifest.csv").is_file():
        pytest.skip(f"no recordings in {ROOT}")
    return ROOT
