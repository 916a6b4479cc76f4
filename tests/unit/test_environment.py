"""``make setup`` on a bare machine: what it lacks is named, and what is up to date is left alone."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, at work in an empty checkout."""
    spec = importlib.util.spec_from_file_location("environment", ROOT / "deploy" / "environment.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "requirements").mkdir()
    for name in ("pyproject.toml", "requirements/run.txt", "requirements/dev.txt"):
        (tmp_path / name).write_text("x==1\n")
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "PYTHON", python)
    monkeypatch.setattr(module, "STAMP", tmp_path / ".venv" / ".installed")
    return module


def test_an_old_python_is_named(environment: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which Python was found, which is needed, and how to name another."""
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    told = environment.obstacle()
    assert f"needs Python 3.11 or newer, {sys.executable} is 3.9" in told
    assert "make setup PYTHON=" in told


def test_missing_venv_support_names_the_package(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian splits ensurepip off; the message is the command to type."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ensurepip" else object())
    told = environment.obstacle()
    assert f"apt-get install python3.{sys.version_info[1]}-venv" in told
    assert "(ensurepip missing)" in told


def test_this_python_is_good(environment: ModuleType) -> None:
    """No obstacle where the tests run."""
    assert environment.obstacle() is None


def test_an_environment_is_left_alone_until_something_changes(
    environment: ModuleType, tmp_path: Path
) -> None:
    """The dev lock covers the run lock; a changed lock, a rename or a torn stamp asks for work."""
    assert not environment.is_installed("run")
    environment.STAMP.write_text(f"run {environment.fingerprint()} {tmp_path}\n")
    assert environment.is_installed("run")
    assert not environment.is_installed("dev")
    environment.STAMP.write_text(f"dev {environment.fingerprint()} {tmp_path}\n")
    assert environment.is_installed("run")
    assert environment.is_installed("dev")
    environment.STAMP.write_text(f"dev {environment.fingerprint()} /elsewhere\n")
    assert environment.was_moved()
    assert not environment.is_installed("run")
    environment.STAMP.write_text("dev")
    assert not environment.is_installed("run")
    environment.STAMP.write_text(f"dev {environment.fingerprint()} {tmp_path}\n")
    (tmp_path / "requirements" / "run.txt").write_text("x==2\n")
    assert not environment.is_installed("run")
