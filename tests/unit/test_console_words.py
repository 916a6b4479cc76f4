from __future__ import annotations

import hashlib
import re
from pathlib import Path

import console
from console import words

HERE = Path(console.__file__).parent
TEXTS = [*HERE.glob("static/js/*.js"), *HERE.glob("templates/*.html")]
SAID = re.compile(r"""(?:\bt\(|\bw\(|data-w(?:-\w+)?=)["']([a-z0-9_.]+)["']""")
FAMILIES = re.compile(r"[`\"']([a-z]+\.(?:[a-z]+_)?)\$\{")
"""Keys that are put together: ``class.${alarm.cls}``."""


def test_both_languages_say_everything() -> None:
    """Each sentence exists in both languages, with the same places to fill in, and none is empty."""
    zh, en = (words.load(language) for language in words.LANGUAGES)
    assert zh.keys() == en.keys()
    for key in zh:
        assert zh[key].strip(), key
        assert en[key].strip() or key == "notice.not_done", key
        places = [set(re.findall(r"\{(\w+)\}", text)) for text in (zh[key], en[key])]
        assert places[0] == places[1], key


def test_every_word_that_is_used_exists_and_none_is_left_over() -> None:
    """Page and templates name only words there are, and every word is named somewhere."""
    known = set(words.load("en"))
    text = "\n".join(path.read_text() for path in TEXTS)
    assert set(SAID.findall(text)) - known == set()
    families = tuple(FAMILIES.findall(text))
    quoted = {key for key in known if re.search(rf"""["']{re.escape(key)}["']""", text)}
    assert {key for key in known - quoted if not key.startswith(families)} == set()


def test_language_follows_choice_then_browser_then_chinese() -> None:
    """What was chosen wins over what the browser prefers; an unknown preference reads Chinese."""
    assert words.choose("en", "zh-CN,zh") == "en"
    assert words.choose(None, "fr-FR, en-GB;q=0.8") == "en"
    assert words.choose("xx", "fr") == "zh"


def test_nothing_gives_the_page_html() -> None:
    """No script sets HTML or evaluates text, and no template has inline script or style."""
    for path in TEXTS:
        text = path.read_text()
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text
        )
        assert not re.search(r"\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", text), path.name


def test_vendored_files_are_the_ones_listed() -> None:
    """Every vendored file has its SHA-256 in the README beside it, and a licence."""
    folder = HERE / "static" / "vendor"
    lines = [line.split() for line in (folder / "README").read_text().splitlines()]
    listed = {line[1]: line[0] for line in lines if len(line) == 2 and len(line[0]) == 64}
    files = {path.name for path in folder.iterdir()} - {"README"}
    assert files == set(listed)
    for name, digest in listed.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert any(name.endswith("LICENSE") for name in files)
