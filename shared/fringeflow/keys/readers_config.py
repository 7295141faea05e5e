"""The config key: products, configs and array tags, with one schema of names and types (keys specification, 4.5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fringeflow.keys.master import Master
from fringeflow.keys.parameters import nearest
from fringeflow.keys.problems import Findings, Place
from fringeflow.keys.syntax import Row
from fringeflow.keys.tables import checked, is_name
from fringeflow.keys.values import (
    Check,
    between,
    duration,
    either,
    flag,
    freq_range,
    list_of,
    mapping_of,
    not_negative,
    nothing,
    number,
    plain,
    positive,
    text,
    whole,
)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a definition."""

    check: Check
    mandatory: bool = False
    unused: bool = False


def _whole_not_negative(value: Any) -> int:
    return whole(not_negative(value))


def _array_stage(value: Any) -> int:
    return whole(between(1, 8, inclusive=True)(value))


_NAMES = list_of(text)
_RANGES = either(list_of(freq_range), nothing)
_LEGACY = {
    **{f"res_{end}_{unit}": Parameter(number, unused=True) for end in ("min", "max") for unit in ("arcsec", "pc")},
    "res_step_factor": Parameter(number, unused=True),
    "res_list": Parameter(list_of(number), unused=True),
}

SCHEMA: Mapping[str, Mapping[str, Parameter]] = {
    "line_product": {
        "line_tag": Parameter(text, mandatory=True),
        "channel_kms": Parameter(positive, mandatory=True),
        "statwt_edge_kms": Parameter(either(not_negative, nothing)),
        "fitorder": Parameter(_whole_not_negative),
        "combinespw": Parameter(flag),
        "lines_to_flag": Parameter(_NAMES),
        "exclude_freq_ranges_ghz": Parameter(_RANGES),
        "flag_edge_fraction": Parameter(between(0, 0.5)),
    },
    "cont_product": {
        "freq_ranges_ghz": Parameter(_RANGES),
        "channel_ghz": Parameter(either(positive, nothing)),
        "lines_to_flag": Parameter(_NAMES, mandatory=True),
    },
    "interf_config": {
        "array_tags": Parameter(list_of(text, empty=False), mandatory=True),
        "clean_scales_arcsec": Parameter(list_of(not_negative, empty=False), mandatory=True),
        "requires": Parameter(_NAMES),
        **_LEGACY,
    },
    "feather_config": {"interf_config": Parameter(text, mandatory=True), **_LEGACY},
    "singledish_config": {
        "bl_order": Parameter(_whole_not_negative),
        "chan_dv_kms": Parameter(positive),
        "vwidth_kms": Parameter(positive),
        "vel_line": Parameter(text),
        "vel_cube": Parameter(text),
        "do_step": Parameter(list_of(_array_stage)),
        "joint_imaging_dirs": Parameter(either(_NAMES, text, nothing)),
        "joint_imaging_suffix": Parameter(either(text, lambda value: value if value == "" else text(value))),
        "doplots": Parameter(flag),
    },
    "array_tag": {"timebin": Parameter(duration)},
}
"""Type of definition -> parameter -> what it must be. What may be left out takes the default of the project model."""


@dataclass(slots=True)
class Definition:
    """Everything that the lines of one (type, name) say together."""

    kind: str
    name: str
    place: Place
    values: dict[str, Any] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)

    def is_complete(self, findings: Findings) -> bool:
        """Return whether all mandatory parameters are there, noting those that are not."""
        absent = [key for key, wanted in SCHEMA[self.kind].items() if wanted.mandatory and key not in self.values]
        for key in absent:
            if key not in self.refused:  # what was refused has been told already
                findings.error(self.place, f"{self.kind} {self.name} has no {key}", f"add {{'{key}': ...}} to it")
        return not absent


def read_configs(master: Master, findings: Findings) -> dict[tuple[str, str], Definition]:
    """Return the definitions of the config key by (type, name)."""
    found: dict[tuple[str, str], Definition] = {}
    for row in master.rows("config_key", findings):
        kind, name, written = row.cells
        if kind not in SCHEMA:
            findings.error(row.place, f"unknown type {kind!r}", nearest(kind, SCHEMA))
            continue
        if not is_name(name, row.place, kind, findings):
            continue
        values = checked(written, mapping_of(lambda value: value), row.place, f"{kind} {name}", findings)
        definition = found.setdefault((kind, name), Definition(kind, name, row.place))
        for key, value in (values or {}).items():
            _enter(definition, key, value, row, findings)
    return found


def _enter(definition: Definition, key: str, value: Any, row: Row, findings: Findings) -> None:
    what = f"{definition.kind} {definition.name}"
    wanted = SCHEMA[definition.kind].get(key)
    if wanted is None:
        findings.error(row.place, f"{what}: unknown parameter {key!r}", nearest(key, SCHEMA[definition.kind]))
        return
    try:
        value = wanted.check(plain(value))
    except ValueError as error:
        definition.refused.add(key)
        findings.error(row.place, f"{what}: {key}: {error}", "correct the value")
        return
    if key in definition.values:
        earlier = definition.places[key]
        findings.warning(row.place, f"{what}: {key} is given again: this line counts, not {earlier}", "keep one")
    if wanted.unused:
        findings.warning(row.place, f"{what}: {key} is not used", "resolutions are given in the derived_key")
    definition.values[key] = value
    definition.places[key] = row.place
    findings.came_from(f"configs.{definition.kind}.{definition.name}.{key}", row.place)
