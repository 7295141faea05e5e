"""Products and configs from the definitions of the config key: completeness, known lines, and links between configs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from fringeflow.keys.lines import LineTable, UnknownLineError
from fringeflow.keys.model import ContProduct, FeatherConfig, InterfConfig, LineProduct, SingleDishConfig
from fringeflow.keys.problems import Findings, Place
from fringeflow.keys.readers_config import SCHEMA, Definition
from fringeflow.keys.scope import Names
from fringeflow.keys.tables import is_known
from fringeflow.keys.values import plain

M = TypeVar("M")


@dataclass(frozen=True)
class Definitions:
    """The products and configs of a project by name."""

    line_products: Mapping[str, LineProduct] = field(default_factory=dict)
    cont_products: Mapping[str, ContProduct] = field(default_factory=dict)
    interf_configs: Mapping[str, InterfConfig] = field(default_factory=dict)
    feather_configs: Mapping[str, FeatherConfig] = field(default_factory=dict)
    singledish_configs: Mapping[str, SingleDishConfig] = field(default_factory=dict)
    timebins: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> Names:
        """What other key files may refer to."""
        return Names(
            tuple(self.interf_configs),
            tuple(self.feather_configs),
            tuple(self.line_products),
            tuple(self.cont_products),
        )


def build(read: Mapping[tuple[str, str], Definition], lines: LineTable, end: Place, findings: Findings) -> Definitions:
    """Return the products and configs that are complete; `end` is where missing definitions belong."""
    _refuse_twins(read, findings)
    complete = {key: item for key, item in read.items() if item.is_complete(findings)}

    def made(kind: str, make: Callable[[Definition], M | None]) -> dict[str, M]:
        chosen = sorted((name for found, name in complete if found == kind), key=str.lower)
        models = ((name, make(complete[kind, name])) for name in chosen)
        return {name: model for name, model in models if model is not None}

    interf = made("interf_config", lambda item: _interf(item, complete, findings))
    found = Definitions(
        line_products=made("line_product", lambda item: _line_product(item, lines, findings)),
        cont_products=made("cont_product", lambda item: _cont_product(item, lines, findings)),
        interf_configs=interf,
        feather_configs=made("feather_config", lambda item: _feather(item, tuple(interf), findings)),
        singledish_configs=made(
            "singledish_config", lambda item: SingleDishConfig(name=item.name, parameters=plain(item.values))
        ),
        timebins=_timebins(
            interf, made("array_tag", lambda item: str(item.values.get("timebin", "0s"))), read, findings
        ),
    )
    if not found.interf_configs:
        findings.error(end, "no interf_config is defined", "add a line: interf_config NAME {...}", fatal=True)
    if not found.names.products:
        findings.error(end, "no product is defined", "add a line: line_product NAME {...}", fatal=True)
    return found


def _refuse_twins(read: Mapping[tuple[str, str], Definition], findings: Findings) -> None:
    for first, second in (("line_product", "cont_product"), ("interf_config", "feather_config")):
        for kind, name in read:
            if kind == second and (first, name) in read:
                findings.error(
                    read[second, name].place,
                    f"{name} is a {first} and a {second}: their files would be the same",
                    f"give one another name (the {first} is at {read[first, name].place})",
                )


def _line_product(item: Definition, lines: LineTable, findings: Findings) -> LineProduct | None:
    values = {**item.values}
    try:
        line = lines.find(values["line_tag"])
    except UnknownLineError as error:
        findings.error(item.places["line_tag"], f"line_product {item.name}: {error.message}", error.remedy or "")
        return None
    values["line_tag"] = line.tag
    _drop_unknown_lines(item, values, lines, findings)
    return LineProduct(name=item.name, restfreq_ghz=line.restfreq_ghz, **values)


def _cont_product(item: Definition, lines: LineTable, findings: Findings) -> ContProduct:
    values = {**item.values}
    _drop_unknown_lines(item, values, lines, findings)
    return ContProduct(name=item.name, **values)


def _drop_unknown_lines(item: Definition, values: dict[str, object], lines: LineTable, findings: Findings) -> None:
    known = []
    for name in item.values.get("lines_to_flag", ()):
        try:
            lines.expand(name)
            known.append(name)
        except UnknownLineError as error:
            what = f"{item.kind} {item.name}: lines_to_flag"
            findings.error(item.places["lines_to_flag"], f"{what}: {error.message}", error.remedy or "")
    if "lines_to_flag" in values:
        values["lines_to_flag"] = tuple(known)


def _interf(item: Definition, complete: Mapping[tuple[str, str], Definition], findings: Findings) -> InterfConfig:
    values = {key: value for key, value in item.values.items() if not SCHEMA[item.kind][key].unused}
    for wanted in values.get("requires", ()):
        for tag in wanted.split("|"):
            if tag not in values["array_tags"]:
                what = f"interf_config {item.name}: requires: {tag!r} is not one of its array_tags"
                findings.warning(item.places["requires"], what, "add it to array_tags, or remove it from requires")
    feathers = [
        name
        for (kind, name), other in complete.items()
        if kind == "feather_config" and other.values["interf_config"] == item.name
    ]
    return InterfConfig(name=item.name, feather_configs=tuple(feathers), **values)


def _feather(item: Definition, known: tuple[str, ...], findings: Findings) -> FeatherConfig | None:
    interf = item.values["interf_config"]
    place = item.places["interf_config"]
    if not is_known(interf, known, place, f"interf_config in feather_config {item.name}:", findings):
        return None
    return FeatherConfig(name=item.name, interf_config=interf)


def _timebins(
    interf: Mapping[str, InterfConfig],
    given: Mapping[str, str],
    read: Mapping[tuple[str, str], Definition],
    findings: Findings,
) -> dict[str, str]:
    used = {tag for config in interf.values() for tag in config.array_tags}
    for tag in given.keys() - used:
        place = read["array_tag", tag].place
        findings.warning(place, f"array_tag {tag} is in no interf_config", "add it to array_tags, or remove the line")
    return {**dict.fromkeys(sorted(used), "0s"), **given}
