"""Code tables of GB/T 26875.3-2011 as data: systems, components, analog values, bits; English and Chinese.

Tables 4, 5 and 6, figures 6, 7, 9, 13 and 14 of the standard. A code that is not here is reserved, or the
user's own (128 to 255), and is shown as its number.
"""

from __future__ import annotations

from typing import NamedTuple


class Words(NamedTuple):
    """A name in both languages."""

    en: str
    zh: str


class Analog(NamedTuple):
    """A kind of analog value: what is sent is the value times ``per``."""

    quantity: str
    uom: str
    per: int
    low: float
    high: float
    words: Words


SYSTEMS: dict[int, Words] = {
    0: Words("general", "通用"),
    1: Words("fire alarm system", "火灾报警系统"),
    10: Words("fire linkage controller", "消防联动控制器"),
    11: Words("hydrant system", "消火栓系统"),
    12: Words("sprinkler system", "自动喷水灭火系统"),
    13: Words("gas extinguishing system", "气体灭火系统"),
    14: Words("water spray system (pump)", "水喷雾灭火系统(泵启动方式)"),
    15: Words("water spray system (pressure vessel)", "水喷雾灭火系统(压力容器启动方式)"),
    16: Words("foam system", "泡沫灭火系统"),
    17: Words("dry powder system", "干粉灭火系统"),
    18: Words("smoke control system", "防烟排烟系统"),
    19: Words("fire doors and shutters", "防火门及卷帘系统"),
    20: Words("fire lift", "消防电梯"),
    21: Words("emergency broadcast", "消防应急广播"),
    22: Words("emergency lighting and evacuation signs", "消防应急照明和疏散指示系统"),
    23: Words("fire power supply", "消防电源"),
    24: Words("fire telephone", "消防电话"),
}
"""Table 4."""

COMPONENTS: dict[int, Words] = {
    0: Words("general", "通用"),
    1: Words("fire alarm controller", "火灾报警控制器"),
    10: Words("combustible gas detector", "可燃气体探测器"),
    11: Words("point combustible gas detector", "点型可燃气体探测器"),
    12: Words("stand-alone combustible gas detector", "独立式可燃气体探测器"),
    13: Words("line combustible gas detector", "线型可燃气体探测器"),
    16: Words("electrical fire monitor", "电气火灾监控报警器"),
    17: Words("residual current detector", "剩余电流式电气火灾监控探测器"),
    18: Words("electrical temperature detector", "测温式电气火灾监控探测器"),
    21: Words("detection loop", "探测回路"),
    22: Words("fire display panel", "火灾显示盘"),
    23: Words("manual call point", "手动火灾报警按钮"),
    24: Words("hydrant button", "消火栓按钮"),
    25: Words("fire detector", "火灾探测器"),
    30: Words("heat detector", "感温火灾探测器"),
    31: Words("point heat detector", "点型感温火灾探测器"),
    32: Words("point heat detector, type S", "点型感温火灾探测器(S型)"),
    33: Words("point heat detector, type R", "点型感温火灾探测器(R型)"),
    34: Words("line heat detector", "线型感温火灾探测器"),
    35: Words("line heat detector, type S", "线型感温火灾探测器(S型)"),
    36: Words("line heat detector, type R", "线型感温火灾探测器(R型)"),
    37: Words("optical fibre heat detector", "光纤感温火灾探测器"),
    40: Words("smoke detector", "感烟火灾探测器"),
    41: Words("point ionisation smoke detector", "点型离子感烟火灾探测器"),
    42: Words("point photoelectric smoke detector", "点型光电感烟火灾探测器"),
    43: Words("beam smoke detector", "线型光束感烟火灾探测器"),
    44: Words("aspirating smoke detector", "吸气式感烟火灾探测器"),
    50: Words("combined detector", "复合式火灾探测器"),
    51: Words("combined smoke and heat detector", "复合式感烟感温火灾探测器"),
    52: Words("combined flame and heat detector", "复合式感光感温火灾探测器"),
    53: Words("combined flame and smoke detector", "复合式感光感烟火灾探测器"),
    61: Words("ultraviolet flame detector", "紫外火焰探测器"),
    62: Words("infrared flame detector", "红外火焰探测器"),
    69: Words("flame detector", "感光火灾探测器"),
    74: Words("gas detector", "气体探测器"),
    78: Words("video fire detector", "图像摄像方式火灾探测器"),
    79: Words("acoustic detector", "感声火灾探测器"),
    81: Words("gas extinguishing controller", "气体灭火控制器"),
    82: Words("fire electrical controller", "消防电气控制装置"),
    83: Words("control room graphic display", "消防控制室图形显示装置"),
    84: Words("module", "模块"),
    85: Words("input module", "输入模块"),
    86: Words("output module", "输出模块"),
    87: Words("input/output module", "输入/输出模块"),
    88: Words("relay module", "中继模块"),
    91: Words("fire pump", "消防水泵"),
    92: Words("fire water tank", "消防水箱"),
    95: Words("sprinkler pump", "喷淋泵"),
    96: Words("flow indicator", "水流指示器"),
    97: Words("signal valve", "信号阀"),
    98: Words("alarm valve", "报警阀"),
    99: Words("pressure switch", "压力开关"),
    101: Words("valve actuator", "阀驱动装置"),
    102: Words("fire door", "防火门"),
    103: Words("fire damper", "防火阀"),
    104: Words("ventilation and air conditioning", "通风空调"),
    105: Words("foam pump", "泡沫液泵"),
    106: Words("network solenoid valve", "管网电磁阀"),
    111: Words("smoke fan", "防烟排烟风机"),
    113: Words("smoke exhaust damper", "排烟防火阀"),
    114: Words("normally closed supply outlet", "常闭送风口"),
    115: Words("smoke exhaust outlet", "排烟口"),
    116: Words("smoke curtain controller", "电控挡烟垂壁"),
    117: Words("fire shutter controller", "防火卷帘控制器"),
    118: Words("fire door monitor", "防火门监控器"),
    121: Words("alarm sounder", "警报装置"),
}
"""Table 5."""

ANALOGS: dict[int, Analog] = {
    1: Analog("count", "1", 1, 0, 32_000, Words("events", "事件计数")),
    2: Analog("level", "m", 100, 0, 320, Words("height", "高度")),
    3: Analog("temperature", "degC", 10, -273, 3_200, Words("temperature", "温度")),
    4: Analog("water_pressure", "MPa", 10, 0, 3_200, Words("pressure, MPa", "压力(兆帕)")),
    5: Analog("water_pressure", "kPa", 10, 0, 3_200, Words("pressure, kPa", "压力(千帕)")),
    6: Analog("gas", "%LEL", 10, 0, 100, Words("gas concentration", "气体浓度")),
    7: Analog("duration", "s", 1, 0, 32_000, Words("time", "时间")),
    8: Analog("voltage", "V", 10, 0, 3_200, Words("voltage", "电压")),
    9: Analog("current", "A", 10, 0, 3_200, Words("current", "电流")),
    10: Analog("flow", "L/s", 10, 0, 3_200, Words("flow", "流量")),
    11: Analog("air_volume", "m3/min", 10, 0, 3_200, Words("air volume", "风量")),
    12: Analog("air_speed", "m/s", 1, 0, 20, Words("air speed", "风速")),
}
"""Table 6. 0.1 MPa and 0.1 A are too coarse for a hydrant's pressure and for residual current."""

_STATE = ("normal", "fire", "fault", "disabled", "supervisory", "started", "feedback", "delayed")
SYSTEM_STATE = (
    *_STATE,
    "mains_fault",
    "backup_fault",
    "bus_fault",
    "manual",
    "config_changed",
    "reset",
)
"""Bits of a system's state, the lowest first (figure 6).

Bit 0 is *normal run* when set. Devices in the field clear it together with a fire and when everything is well
again, so a clear bit 0 is never read as *test*. Bit 5 clear means stopped or closed, bit 11 clear automatic.
"""

COMPONENT_STATE = (*_STATE, "power_fault")
"""Bits of a component's state (figure 7)."""

TRANSMITTER_STATE = (
    "normal",
    "fire",
    "fault",
    "mains_fault",
    "backup_fault",
    "channel_fault",
    "panel_link_fault",
)
"""Bits of a transmitter's state (figure 13): its own power, its way to the centre, its panel."""

_OPERATION = ("reset", "silence", "manual_alarm", "alarm_cleared", "self_test")
SYSTEM_OPERATION = (*_OPERATION, "confirm", "test")
"""Bits of what was done at a fire facility (figure 9)."""

TRANSMITTER_OPERATION = (*_OPERATION, "post_check_answer", "test")
"""Bits of what was done at a transmitter (figure 14)."""


def bits(value: int, names: tuple[str, ...]) -> list[str]:
    """Names of the set bits, the lowest first; one without a name is ``bit_7``."""
    return [
        names[bit] if bit < len(names) else f"bit_{bit}"
        for bit in range(value.bit_length())
        if value >> bit & 1
    ]
