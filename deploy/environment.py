"""Make or refresh ``.venv`` from the hash lock: ``python3 deploy/environment.py run|dev``.

Standard library only, because it runs before anything is installed. Does nothing when the environment already
holds what the lock says; the stamp ``.venv/.installed`` remembers that by the hash of lock and pyproject.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / ".installed"
PYTHON = VENV / "bin" / "python"
LOCKS = ("run", "dev")
"""Each holds everything of the one before, in the same versions."""


def main() -> int:
    """Bring the environment to the lock named on the command line."""
    if len(sys.argv) != 2 or sys.argv[1] not in LOCKS:
        print("usage: python3 deploy/environment.py run|dev", file=sys.stderr)
        return 64
    wanted = sys.argv[1]
    if is_installed(wanted):
        return 0
    if problem := obstacle():
        print(f"fengsui: {problem}", file=sys.stderr)
        return 1
    started = time.monotonic()
    if not PYTHON.exists() or not PYTHON.with_name("pip").exists() or was_moved():
        say(f"making .venv with Python {sys.version.split()[0]}")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)
    lock = ROOT / "requirements" / f"{wanted}.txt"
    if not install(lock):
        return 1
    say("installing fengsui itself")
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet"]
    itself = ["--no-deps", "--no-build-isolation", "--editable", "."]
    subprocess.run([*pip, *itself], cwd=ROOT, check=True, env=pip_environment())
    STAMP.write_text(f"{wanted} {fingerprint()} {ROOT}\n")
    say(f"environment ready after {time.monotonic() - started:.0f} s")
    return 0


def is_installed(wanted: str) -> bool:
    """Whether the environment holds the wanted lock, or one that contains it, as the files are now."""
    try:
        level, known, _ = STAMP.read_text().split(" ", 2)
    except (FileNotFoundError, ValueError):
        return False
    return (
        known == fingerprint()
        and not was_moved()
        and LOCKS.index(level) >= LOCKS.index(wanted)
        and PYTHON.exists()
    )


def was_moved() -> bool:
    """Whether the checkout was renamed: programs in an environment name their interpreter in full."""
    return STAMP.exists() and not STAMP.read_text().rstrip("\n").endswith(f" {ROOT}")


def fingerprint() -> str:
    """Changes with the locks and with pyproject.toml."""
    files = [ROOT / "requirements" / f"{name}.txt" for name in LOCKS]
    parts = [path.read_bytes() for path in (*files, ROOT / "pyproject.toml")]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def obstacle() -> str | None:
    """Why this Python cannot make the environment, with what to install; None when it can."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if sys.version_info < (3, 11):
        return (
            f"needs Python 3.11 or newer, {sys.executable} is {version}.\n"
            "  Debian 12, Ubuntu 24.04 or newer: apt-get install python3 python3-venv\n"
            "  another Python on this machine: make setup PYTHON=/path/to/python3.11"
        )
    if missing := [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]:
        return (
            f"{sys.executable} cannot make environments ({' and '.join(missing)} missing).\n"
            f"  Debian, Ubuntu: apt-get install python{version}-venv\n"
            "  Fedora, openSUSE: it is part of python3; SUSE splits it off as python3-venv"
        )
    return None


def pip_environment() -> dict[str, str]:
    """The caller's environment, without asking for a newer pip at every run."""
    return {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONUNBUFFERED": "1"}


def install(lock: Path) -> bool:
    """Install the lock with pip, counting packages on one line; pip's words are shown only if it fails.

    The lock is complete, so pip resolves nothing (``--no-deps``): it would look at the newest release of a
    package that another one asks for with extras, and refuse it for want of a hash.
    """
    total = sum(1 for line in lock.read_text().splitlines() if "==" in line)
    say(f"installing {total} packages, each checked against its hash (about a minute the first time)")
    pip = [str(PYTHON), "-m", "pip", "install", "--no-input", "--no-deps", "--require-hashes"]
    words: list[str] = []
    seen = 0
    with subprocess.Popen(
        [*pip, "--requirement", str(lock)],
        cwd=ROOT,
        env=pip_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            words.append(line)
            if line.startswith(("Collecting", "Ignoring", "Requirement already satisfied")):
                seen += 1
                progress(f"{seen} of {total}")
            elif line.startswith("Installing collected"):
                progress("unpacking")
    progress("")
    if process.returncode != 0:
        sys.stderr.write("".join(words[-30:]))
        print("fengsui: installing failed, see above; no network? then run it again later", file=sys.stderr)
    return process.returncode == 0


def say(text: str) -> None:
    """One line of progress."""
    print(f"fengsui: {text}", flush=True)


def progress(text: str) -> None:
    """Overwrite the progress line of a terminal; a log file gets none of it."""
    if sys.stdout.isatty():
        print(f"\r\033[K  {text}", end="" if text else "\r", flush=True)


if __name__ == "__main__":
    sys.exit(main())
