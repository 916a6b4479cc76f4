"""Every word of the console, one dictionary per language: ``static/words/{zh,en}.json``.

The page loads the same files, so a sentence exists once per language.
"""

from __future__ import annotations

from importlib.resources import files

import msgspec

LANGUAGES = ("zh", "en")
Words = dict[str, str]


def load(language: str) -> Words:
    """The dictionary of one of :data:`LANGUAGES`."""
    text = files("console").joinpath("static", "words", f"{language}.json").read_bytes()
    return msgspec.json.decode(text, type=Words)


def choose(chosen: str | None, accepts: str) -> str:
    """The language to answer in: what was chosen, else what the browser prefers, else Chinese."""
    if chosen in LANGUAGES:
        return chosen
    preferred = [part.split(";")[0].strip()[:2].lower() for part in accepts.split(",")]
    return next((language for language in preferred if language in LANGUAGES), "zh")
