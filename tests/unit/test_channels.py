from __future__ import annotations

from math import e, nan
from pathlib import Path

import numpy as np
import pytest

from gateway.drivers.recording import Column
from simulators.channels import CONVERSIONS, Choice, Use, choose, unplugged


def column(name: str, quantity: str, uom: str, text: str | None = None) -> Column:
    """A column as the reader gives it; its words are the quantity unless told."""
    return Column(name, name, quantity, uom, text if text is not None else quantity.replace("_", " "))


def chosen(choice: Choice) -> dict[str, tuple[str, str, str]]:
    """Use, quantity and unit by column."""
    return {c.column.name: (c.use.value, c.quantity, c.uom) for c in choice.channels}


@pytest.mark.parametrize(
    ("quantity", "uom", "value", "expected"),
    [
        ("temperature", "degF", 212.0, ("temperature", "degC", 100.0)),
        ("temperature", "K", 373.15, ("temperature", "degC", 100.0)),
        ("temperature_rise", "K", 5.0, ("temperature", "degC", 25.0)),
        ("smoke_density", "1/m", 0.1, ("smoke", "%/m", 20.567)),
        ("smoke_density", "dB/m", 0.05, ("smoke", "%/m", 1.1447)),
        ("smoke_extinction", "1/m", 1.0, ("smoke", "%/m", 100 * (1 - 1 / e))),
        ("smoke", "%/ft", 8.0, ("smoke", "%/m", 23.935)),
        ("smoke", "%/ft", 120.0, ("smoke", "%/m", 100.0)),
        ("light_transmission", "%/m", 90.0, ("smoke", "%/m", 10.0)),
        ("soot", "mg/m3", 100.0, ("smoke", "%/m", 58.105)),
        ("co", "vol%", 0.01, ("co", "ppm", 100.0)),
        ("co", "mol/mol", 1e-4, ("co", "ppm", 100.0)),
        ("co", "mg/m3", 114.56, ("co", "ppm", 100.0)),
        ("voc", "ppb", 500.0, ("voc", "ppm", 0.5)),
        ("o2", "mol/mol", 0.209, ("o2", "vol%", 20.9)),
        ("flow", "m3/h", 6.0, ("flow", "L/min", 100.0)),
        ("vibration", "m/s2", 9.80665, ("vibration", "g", 1.0)),
    ],
)
def test_units_become_what_the_rules_speak(
    quantity: str, uom: str, value: float, expected: tuple[str, str, float]
) -> None:
    """Each formula gives the value that its definition gives by hand, and a missing value stays missing."""
    conversion = CONVERSIONS[quantity, uom]
    assert (conversion.quantity, conversion.uom) == expected[:2]
    value_, missing = conversion.convert(np.array([value, nan]))
    assert value_ == pytest.approx(expected[2], rel=1e-3)
    assert np.isnan(missing)


def test_the_table_of_units_is_in_the_documentation() -> None:
    """Every row, with its formula and source, stands in docs/evaluation.md."""
    page = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    for (quantity, uom), to in CONVERSIONS.items():
        row = f"| {quantity} | {uom} | {to.quantity} | {to.uom} | {to.formula} | {to.source} |"
        assert row in page


def test_near_ceiling_temperatures_are_the_detectors() -> None:
    """Where a file tells heights, the room's other thermometers and the doorway's are left out."""
    names = (
        "a_25_mm_below_ceiling_c",
        "a_1p2_m_below_ceiling_c",
        "door_0p1_m_below_ceiling_c",
        "thermostat_c",
    )
    choice = choose([column(name, "temperature", "degC") for name in names])
    assert chosen(choice) == {names[0]: ("detector", "temperature", "degC")}
    assert set(choice.left_out.values()) == {"temperature not near the ceiling"}
    assert choice.channels[0].absolute_c


@pytest.mark.parametrize(
    "name",
    [
        "tc_1_ft_below_ceiling_c",
        "12_in_below_the_ceiling_c",
        "ceiling_temperature_c",
        "a_30cm_below_ceiling_c",
    ],
)
def test_other_lengths_and_plain_words_tell_the_ceiling_too(name: str) -> None:
    """Feet, inches, centimetres and the bare word place a detector, which keeps the room's others out."""
    choice = choose([column("room_c", "temperature", "degC"), column(name, "temperature", "degC")])
    assert list(chosen(choice)) == [name]


def test_room_thermometers_serve_where_no_ceiling_is_told() -> None:
    """Without a height in the file every room thermometer is a detector, but no thing and no other place."""
    choice = choose(
        [column(n, "temperature", "degC") for n in ("temp_c", "wall_c", "outdoor_temp_c", "temp_tfsampa_c")]
    )
    assert chosen(choice) == {"temp_c": ("detector", "temperature", "degC")}


@pytest.mark.parametrize(
    ("name", "quantity", "uom", "text", "expected"),
    [
        ("temp_cable_1_c", "temperature", "degC", "temperature of cable 1", "cable_temperature"),
        ("t_c", "temperature", "degC", "motor body temperature", "machine_temperature"),
        ("t_c", "temperature", "degC", "fluid temperature", "fluid_temperature"),
        ("t_c", "temperature", "degC", "Cell 1 Temperature", "battery_temperature"),
        ("t_f", "temperature", "degF?", "temperature; unit not stated", "machine_temperature"),
        ("p", "pressure", "bar", "pressure after the pump", "pressure"),
        ("p", "pressure", "MPa", "hydrant pressure", "water_pressure"),
        ("i", "current", "A", "motor current", "current"),
        ("i", "current", "mA", "residual current", "residual_current"),
        ("q", "flow", "L/min", "flow", "flow"),
    ],
)
def test_things_and_machines_are_watched_for_faults_only(
    name: str, quantity: str, uom: str, text: str, expected: str
) -> None:
    """What sits in or on equipment is an equipment channel; a limit for a room's air never judges it."""
    (channel,) = choose([column(name, quantity, uom, text)]).channels
    assert (channel.use, channel.quantity, channel.absolute_c) == (Use.EQUIPMENT, expected, False)


def test_residual_current_is_in_milliamperes_whatever_the_file_says() -> None:
    """The rules speak mA: 0.3 A and 300 mA are the same."""
    for uom, value in (("A", 0.3), ("mA", 300.0)):
        (channel,) = choose([column("i", "current", uom, "residual current")]).channels
        assert channel.uom == "mA"
        assert channel.convert(np.array([value]))[0] == pytest.approx(300.0)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (column("co", "co", "ppm as in source, uncalibrated"), "not calibrated"),
        (column("raw_pho1a", "analogue_output", "raw, uncalibrated"), "not calibrated"),
        (column("soot_raw", "soot", "raw"), "not calibrated"),
        (column("co_flow_lpm", "gas_flow", "L/min", "CO Flow"), "no rule speaks it"),
        (column("co_lpm", "co", "L/min"), "no rule speaks it"),
        (column("lt", "light_transmission", "%"), "no rule speaks it"),
        (column("hrr_kw", "heat_release_rate", "kW"), "no rule speaks it"),
        (column("duct_co", "co", "ppm", "CO in the exhaust duct"), "another place"),
        (column("p_pa", "pressure", "Pa", "pressure difference"), "pressure of a room"),
    ],
)
def test_what_is_no_channel_is_left_out_with_its_reason(given: Column, reason: str) -> None:
    """Raw counts, a gas as a flow, a path that is not told, another place: each says why."""
    choice = choose([given])
    assert choice.channels == ()
    assert reason in choice.left_out[given.name]
    assert choice.reasons().startswith("1 ")


def test_flags_and_the_time_axis_are_no_columns_to_speak_of() -> None:
    """A label, a flag and the time are neither fed nor mentioned."""
    choice = choose([column("time_s", "time", "s"), column("label", "anomalous", "1")])
    assert choice == Choice((), {})


def test_a_probe_without_clean_air_takes_its_station_with_it() -> None:
    """O2 near 0 at the start means that nothing at that place is connected; other places stay."""
    columns = [column(f"{room}_{gas}_volpct", gas, "vol%") for room in "ab" for gas in ("o2", "co2", "co")]
    channels = choose(columns).channels
    values = np.tile([0.05, 400.0, 0.0, 20.9, 400.0, 0.0], (20, 1))
    t_s = np.arange(20.0)
    assert unplugged(channels, t_s, values) == {"a_o2_volpct", "a_co2_volpct", "a_co_volpct"}
    values[11:, 3] = 5.0
    assert "b_o2_volpct" not in unplugged(channels, t_s, values)


def test_a_co_analyser_with_a_wrong_zero_is_left_out_alone() -> None:
    """73 ppm before anything burns is the analyser's; O2 and CO2 of the same place are the room's."""
    channels = choose([column(f"a_{gas}_volpct", gas, "vol%") for gas in ("o2", "co2", "co")]).channels
    values = np.tile([20.9, 600.0, 73.0], (20, 1))
    assert unplugged(channels, np.arange(20.0), values) == {"a_co_volpct"}


def test_an_open_thermocouple_is_not_connected() -> None:
    """Full scale from the first second on is no fire; a missing start is given the benefit."""
    channels = choose([column(f"ceiling_{n}_c", "temperature", "degC") for n in "abc"]).channels
    values = np.tile([1260.5, 21.0, nan], (20, 1))
    values[15:, 1] = 900.0
    assert unplugged(channels, np.arange(20.0), values) == {"ceiling_a_c"}
