from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.__main__ import MEASUREMENTS, main
from tests.servers import needs

KEYS = {
    "commit",
    "stored_ratio_raw_influx",
    "plain_stored_per_s",
    "ws_p99_ms",
    "gateway",
    "restart_s",
    "detect_us_per_reading",
}


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_every_measurement_happens_as_it_claims(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At 1:500 of its size: everything is counted in the database, nothing is lost, the report is whole."""
    needs("mosquitto")
    needs("influxd")
    assert main(["--scale", "1:500", "--out", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "latest.json").read_text())
    assert report.keys() >= KEYS
    assert report["ws_p99_ms"].keys() >= {"idle", "db_dead", "backlog"}
    assert report["gateway"].keys() == {"rss_mb", "cpu_s_per_1000", "gb_per_day"}
    assert report["details"].keys() == MEASUREMENTS.keys()
    for size in report["detect"]:
        assert size.keys() >= {"points", "batch", "fast_us", "slow_us", "bytes_per_point"}
        assert min(size.values()) > 0
    too_short_to_see = {"gateway.cpu_s_per_1000"}  # of two seconds the kernel counts whole hundredths
    assert all(row["median"] > 0 for row in report["rows"] if row["key"] not in too_short_to_see)
    assert (tmp_path / "index.html").read_text().count("<svg") == 4
    assert "stored_ratio_raw_influx" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--scale", "2"], ["--scale", "0"], ["--only", "speed"]])
def test_a_wrong_argument_is_refused_with_a_word_about_it(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything starts."""
    with pytest.raises(SystemExit):
        main(arguments)
    assert arguments[0] in capsys.readouterr().err
