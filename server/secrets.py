"""Secrets this machine makes for itself: each is a file of one line, mode 600, made once and then kept."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from fengsui.settings import Secret, read_secret

_WORD_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
"""No letter that is mistaken for another when read from a screen."""


def keep(path: Path) -> Secret:
    """The secret in ``path``, made at random (256 bit) if there is none yet.

    Raises:
        SettingsError: There is one and it cannot be used (empty, readable by everybody).
    """
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write(path, secrets.token_urlsafe(32) + "\n")
    return read_secret(path)


def write(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    new = path.with_name(path.name + ".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.chmod(0o600)  # an old leftover may have had other bits
    new.replace(path)


def passphrase() -> str:
    """A password a person reads from the screen and types once: 80 bit in four groups."""
    return "-".join("".join(secrets.choice(_WORD_LETTERS) for _ in range(4)) for _ in range(4))
