"""``fengsui notify``: what a person at a shell gets to read, and the exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from fengsui.command import main
from tests.rosters import TEXT

CONFIG = """\
process = "core"
folder = "core"
socket = "core.sock"
[journal]
folder = "journal"
[store]
kind = "embedded"
folder = "series"
[notify.channels.desk]
kind = "sounder"
command = ["true"]
[notify.channels.mail]
kind = "mqtt"
inside = false
[notify.channels.centre]
kind = "http"
url = "https://119.example.org/fires"
[notify.channels.sms]
kind = "http"
url = "https://sms.example.org/?to={to}&text={text}"
method = "GET"
bell_to = "13800000000"
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A core's settings and a roster in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "core.toml").write_text(CONFIG)
    (tmp_path / "roster.yaml").write_text(TEXT, encoding="utf-8")
    return tmp_path


def notify(what: str, *rest: str) -> int:
    """``fengsui notify`` with the settings of this folder."""
    return main(["notify", what, "--config", "core.toml", *rest])


def test_check_counts_or_says_what_is_wrong(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A good roster is counted; of a wrong one each line is named, and the exit code is 1."""
    assert notify("check", "roster.yaml") == 0
    assert capsys.readouterr().out == "roster.yaml: good; 6 contacts, 1 rotas, 3 calls\n"
    (site / "roster.yaml").write_text(TEXT.replace("minimum: [sms]", "minimum: [pager]"), encoding="utf-8")
    assert notify("check", "roster.yaml") == 1
    assert "roster.yaml:1: pager is no channel" in capsys.readouterr().err


def test_preview_prints_who_is_called_when(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line for each step, with its time, person, channel, address and reason."""
    args = ("roster.yaml", "--class", "fire", "--unit", "u1", "--at", "2026-11-23T12:00", "--confirmed")
    assert notify("preview", *args) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head == "fire, unit u1, building -, 2026-11-23 12:00 +0800"
    assert [line.split()[:4] for line in lines] == [
        ["0", "s", "119", "centre"],
        ["0", "s", "sounder", "desk"],
        ["0", "s", "wang", "王芳"],
        ["0", "s", "wang", "王芳"],
        ["60", "s", "chief", "sms"],
        ["120", "s", "chief", "sms"],
        ["120", "s", "owner", "mail"],
    ]
    assert notify("preview", "roster.yaml", "--class", "fault", "--at", "2026-11-23T23:00") == 0
    out = capsys.readouterr().out
    assert "unless delivered before" in out
    assert "8:00:00" in out
    assert "quiet hours" in out
    assert notify("preview", "roster.yaml", "--class", "security") == 0
    assert capsys.readouterr().out.splitlines()[1].strip() == "nobody"


def test_a_roster_is_put_in_force_and_shown(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without one there is a word of what to do; what is shown can be imported again."""
    assert notify("show") == 64
    assert "notify import" in capsys.readouterr().err
    assert notify("import", "roster.yaml") == 0
    assert capsys.readouterr().out == "roster 1 is in force: 6 contacts, 3 calls\n"
    assert notify("show") == 0
    shown = capsys.readouterr().out
    assert yaml.safe_load(shown)["contacts"][0]["name"] == "王芳"
    (site / "again.yaml").write_text(shown, encoding="utf-8")
    assert notify("import", "again.yaml") == 0
    assert capsys.readouterr().out.startswith("roster 2")
    assert notify("log") == 0
    assert capsys.readouterr().out == ""


def test_bells_are_rung_and_listed(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every channel gets a step; without a core that does it, it is pending."""
    assert notify("bells", "--ring") == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "4 channels ring"
    assert [line.split()[0] for line in lines] == ["centre", "desk", "mail", "sms"]
    assert all(line.rstrip().endswith("pending") for line in lines)


def test_a_building_is_put_under_test(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a reason and an end, listed with both, and ended by hand."""
    assert notify("under-test", "tower", "--reason", "yearly test") == 64
    assert "--minutes" in capsys.readouterr().err
    assert notify("under-test", "tower", "--minutes", "60") == 64
    assert "reason" in capsys.readouterr().err
    assert notify("under-test", "tower", "--minutes", "60", "--reason", "yearly test") == 0
    capsys.readouterr()
    assert notify("under-test") == 0
    assert capsys.readouterr().out.rstrip().endswith("yearly test")
    assert notify("under-test", "tower", "--end") == 0
    assert notify("under-test", "tower", "--end") == 0
    assert capsys.readouterr().out == "tower is under test no more\ntower was not under test\n"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('command = ["true"]', 'command = ["no-such-program"]', "'no-such-program' is not on this machine"),
        ("https://119", "http://119", "must begin with https://"),
        ("{text}", "{message}", "{message} means nothing here"),
        ("{text}", "{secret}", "name the file that holds it as secret_file"),
        ('method = "GET"', 'body = "{"', "body is no JSON"),
        ('bell_to = "13800000000"', "", "bell_to is missing"),
        (
            "[notify.channels.desk]",
            '[notify.canary]\nchannel = "fax"\ntell = "sms"\n[notify.channels.desk]',
            "fax",
        ),
        (
            "[notify.channels.desk]",
            '[notify.canary]\nchannel = "sms"\ntell = "sms"\n[notify.channels.desk]',
            "another channel",
        ),
        ('method = "GET"', 'accept = "("', "no regular expression"),
        ('method = "GET"', 'methd = "GET"', "did you mean `method`?"),
        ('kind = "mqtt"', 'kind = "apprise"\nurl_file = "bad.url"', "no URL that Apprise understands"),
        ('kind = "mqtt"', 'kind = "apprise"\nurl_file = "to.url"', "bell_to is missing"),
        ('kind = "mqtt"', 'kind = "fax"', "fax"),
    ],
)
def test_check_config_covers_the_channels(
    site: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, said: str
) -> None:
    """What would not work is told before anything starts, with the key and what to do."""
    for name, url in (("bad.url", "nonsense://x"), ("to.url", "mailto://mail.example.org?to={to}")):
        (site / name).write_text(url)
        (site / name).chmod(0o600)
    assert main(["check-config", "core.toml"]) == 0
    assert old in CONFIG
    (site / "core.toml").write_text(CONFIG.replace(old, new, 1))
    assert main(["check-config", "core.toml"]) == 78
    assert said in capsys.readouterr().err
