"""``fengsui rules``: what a person at a shell gets to read, and the exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from fengsui.command import main
from tests.unit.test_rule_file import HEAT, TEST, changed

REGISTRY = """\
devices:
- {id: d1, name: D, type: probe}
points:
- {id: a, gateway: g, name: a, quantity: temperature, uom: degC, device: d1}
- {id: b, gateway: g, name: b, quantity: temperature, uom: degC}
- {id: c, gateway: g, name: c, quantity: smoke, uom: "%/m"}
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A rule file in the working directory."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "site.yaml"
    path.write_text(HEAT + TEST)
    return path


def test_check_says_good(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A good file is counted; so are the shipped rules when no file is named."""
    assert main(["rules", "check", "site.yaml"]) == 0
    assert capsys.readouterr().out == "site.yaml: good, 3 rules, 1 tests passed\n"
    assert main(["rules", "check"]) == 0
    assert capsys.readouterr().out.startswith("default.yaml: good, ")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("above: 57", "above: false", "site.yaml:7: threshold heat: key `above`: expected a number"),
        ("degC", "bar", "site.yaml:6: heat: temperature is in degC here, not bar"),
        ("above: 57", "above: 61", "site.yaml:15: test 'it burns' fails: heat does not raise at 1 s"),
        (
            "severity",
            "severty",
            "site.yaml:9: threshold heat: unknown key `severty`; did you mean `severity`?",
        ),
    ],
)
def test_check_names_file_line_and_reason(
    site: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, said: str
) -> None:
    """A refused file is exit code 1 and its lines are on stderr, nothing on stdout."""
    site.write_text(changed(HEAT, old, new) + TEST)
    assert main(["rules", "check", "site.yaml"]) == 1
    out = capsys.readouterr()
    assert said in out.err
    assert out.out == ""


def test_test_tells_what_the_rules_said(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each test with its outcome, and all verdicts; a failed one is exit code 1."""
    assert main(["rules", "test", "site.yaml"]) == 0
    told = capsys.readouterr().out
    assert "passed  site.yaml:11: it burns" in told
    assert "heat raises at 1 s (p1)" in told
    site.write_text(HEAT + changed(TEST, "raise_s: 1", "raise_s: 2"))
    assert main(["rules", "test", "site.yaml"]) == 1
    assert "FAILED  site.yaml:11: it burns" in capsys.readouterr().out


def test_explain_says_what_for_which_points(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One rule of a file in words, with the points of a registry file that it judges."""
    site.write_text(HEAT + "    scope: {device_type: probe}\n")
    Path("registry.yaml").write_text(REGISTRY)
    assert main(["rules", "explain", "site.yaml", "heat", "--registry", "registry.yaml"]) == 0
    told = capsys.readouterr().out
    assert "Raises at or above 57 degC" in told
    assert "57 degC 时报警" in told
    assert "1 of 3 points: a" in told
    assert "no-data" not in told


def test_explain_of_a_shipped_rule(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A name alone is a shipped rule; a name that is none is told what there is."""
    assert main(["rules", "explain", "heat-fire"]) == 0
    assert capsys.readouterr().out.startswith("heat-fire@1, threshold\n")
    assert main(["rules", "explain", "heat-fyre"]) == 64
    assert "has no rule heat-fyre; it has heat-fire, " in capsys.readouterr().err


def test_diff_warns_of_a_change_under_the_same_version(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The differences are printed; one without a new version is named with its line, exit code 1."""
    Path("new.yaml").write_text(changed(HEAT, "57", "58"))
    assert main(["rules", "diff", "site.yaml", "new.yaml"]) == 1
    out = capsys.readouterr()
    assert out.out == "~ heat@1 -> @1: above 57 -> 58\n"
    assert out.err == "new.yaml:2: rule heat changed under the same version; give it version 2\n"
    Path("new.yaml").write_text(changed(changed(HEAT, "57", "58"), "version: 1", "version: 2"))
    assert main(["rules", "diff", "site.yaml", "new.yaml"]) == 0
    assert main(["rules", "diff", "site.yaml", "site.yaml"]) == 0
    assert "the rules are the same" in capsys.readouterr().out


def test_show_of_a_core_that_never_ran(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a state database a person is told where one would be."""
    assert main(["rules", "show", "heat-fire@1"]) == 64
    assert "state.db is not there" in capsys.readouterr().err
    assert main(["rules", "show", "heat-fire"]) == 64
    assert "such as heat-fire@1" in capsys.readouterr().err
    assert main(["rules", "show"]) == 0
    assert capsys.readouterr().out.startswith("# The shipped rules.")


def test_urgent_prints_blocks_for_a_gateways_settings(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rules of a file or those in force, points of a registry file; an unknown gateway is no error."""
    Path("registry.yaml").write_text(REGISTRY)
    assert main(["rules", "urgent", "g", "--registry", "registry.yaml"]) == 0
    shipped = capsys.readouterr().out
    assert shipped.startswith("# made by `fengsui rules urgent g`: 3 of 3 points\n")
    assert '[points."a"]\nurgent_above = 46.0\n\n[points."b"]\nurgent_above = 46.0\n' in shipped
    assert '[points."c"]\nurgent_above = 5.0\n' in shipped
    assert main(["rules", "urgent", "g", "--registry", "registry.yaml", "--rules", "site.yaml"]) == 0
    assert '[points."a"]\nurgent_above = 57.0\n' in capsys.readouterr().out
    Path("var/core").mkdir(parents=True)
    Path("var/core/rules.yaml").write_text(HEAT + TEST)
    assert main(["rules", "urgent", "g", "--registry", "registry.yaml"]) == 0
    assert '[points."a"]\nurgent_above = 57.0\n' in capsys.readouterr().out
    assert main(["rules", "urgent", "other", "--registry", "registry.yaml"]) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == (
        "# made by `fengsui rules urgent other`: 0 of 0 points\n\n",
        "no point of other is registered\n",
    )
