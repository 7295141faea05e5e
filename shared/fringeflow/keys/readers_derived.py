"""The derived key and the moment key: resolutions, masks and maps (keys specification, sections 4.6 and 4.8)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fringeflow.keys.derived_options import MAP_ARGUMENTS, MOMENT_OPTIONS, PRODUCT_OPTIONS, check_options
from fringeflow.keys.master import Master
from fringeflow.keys.model import Derived, Moment
from fringeflow.keys.parameters import nearest
from fringeflow.keys.problems import Findings, Place
from fringeflow.keys.scope import Names
from fringeflow.keys.syntax import Row
from fringeflow.keys.tables import checked, is_known, is_name
from fringeflow.keys.values import Check, either, list_of, mapping_of, plain, positive, text, whole

ALGORITHMS = tuple(MOMENT_OPTIONS)
MASKS = ("strictmask", "broadmask", "flatstrictmask", "flatbroadmask", "none")
STEPS = frozenset(("cube", "noise", "maps", "vfield", "shuffled", "flatmasks", "hybrids", *MASKS))
"""Names of what is made besides maps, which no map may therefore have."""

_PARAMETERS: Mapping[str, Check] = {
    "ang_res": mapping_of(positive),
    "phys_res": mapping_of(positive),
    "mask_configs": list_of(text),
    "moments": list_of(text),
    **dict.fromkeys(PRODUCT_OPTIONS, mapping_of(plain)),
}
_LITERALS: Mapping[str, Check] = {
    "kwargs": mapping_of(plain),
    "other_exts": mapping_of(either(text, list_of(text, empty=False))),
    "maps_to_pass": list_of(text),
    "round": whole,
}
_WORDS = ("algorithm", "mask", "ext", "ext_error")


@dataclass(slots=True)
class _Settings:
    """What the derived key says of one config and product."""

    ang_res: dict[str, float] = field(default_factory=dict)
    phys_res: dict[str, float] = field(default_factory=dict)
    mask_configs: dict[str, Place] = field(default_factory=dict)
    moments: dict[str, Place] = field(default_factory=dict)
    kwargs: dict[str, dict[str, Any]] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)

    def enter(self, parameter: str, value: Any, place: Place) -> None:
        if parameter in ("mask_configs", "moments"):
            for item in value:
                getattr(self, parameter).setdefault(item, place)
        elif parameter in ("ang_res", "phys_res"):
            getattr(self, parameter).update(value)
        else:
            self.kwargs.setdefault(parameter, {}).update(value)
        self.places[parameter] = place


@dataclass(frozen=True, slots=True)
class _Given:
    """What one line gives an algorithm: options or maps."""

    moment: str
    parameter: str
    value: Any
    place: Place


def read_derived(
    master: Master, names: Names, moments: Collection[str], findings: Findings
) -> dict[str, dict[str, Derived]]:
    """Return what is derived, config -> product -> settings, for every config and product there is."""
    found = {config: {product: _Settings() for product in names.products} for config in names.configs}
    for row in master.rows("derived_key", findings):
        config, product, parameter, written = row.cells
        if parameter not in _PARAMETERS:
            findings.error(row.place, f"unknown parameter {parameter!r}", nearest(parameter, _PARAMETERS))
            continue
        value = checked(written, _PARAMETERS[parameter], row.place, parameter, findings)
        if value is None:
            continue
        if isinstance(value, tuple):
            value = tuple(_that_exist(parameter, value, names, moments, row, findings))
        elif parameter in PRODUCT_OPTIONS:
            value = check_options(value, PRODUCT_OPTIONS[parameter], row.place, parameter, findings)
        for one in names.configs_of(config, names.configs, row.place, findings):
            for other in names.products_of(product, row.place, findings, all_of_them=True):
                found[one][other].enter(parameter, value, row.place)
                findings.came_from(f"derived.{one}.{other}.{parameter}", row.place, add=True)
    return {
        config: {product: _derived(config, product, settings, findings) for product, settings in row_of.items()}
        for config, row_of in found.items()
    }


def read_moments(master: Master, findings: Findings) -> dict[str, Moment]:
    """Return the moments by name."""
    values: dict[str, dict[str, Any]] = {}
    places: dict[str, Place] = {}
    options: list[_Given] = []
    for row in master.rows("moment_key", findings):
        name, parameter, written = row.cells
        if not is_name(name, row.place, "moment", findings):
            continue
        if name in STEPS:
            findings.error(row.place, f"a moment cannot be called {name!r}: something else is", "choose another name")
            continue
        places.setdefault(name, row.place)
        known = values.setdefault(name, {})
        value = _moment_value(name, parameter, written, row, findings)
        if value is None:
            continue
        if parameter in ("kwargs", "maps_to_pass", "other_exts"):
            options.append(_Given(name, parameter, value, row.place))
        if parameter in known and not isinstance(value, dict):
            findings.warning(
                row.place, f"{parameter} of {name} is given again: this line counts", "keep one of the two"
            )
        known[parameter] = {**known.get(parameter, {}), **value} if isinstance(value, dict) else value
        findings.came_from(f"moments.{name}.{parameter}", row.place, add=isinstance(value, dict))
    for given in options:
        algorithm = values[given.moment].get("algorithm")
        if algorithm is not None:
            _check_given(given, algorithm, values[given.moment], findings)
    _note_shared_files(values, places, findings)
    return {
        name: _moment(name, known)
        for name, known in values.items()
        if _is_complete(name, known, places[name], findings)
    }


def _check_given(given: _Given, algorithm: str, known: dict[str, Any], findings: Findings) -> None:
    """Note options and maps that an algorithm does not take, and take wrong options out of `known`."""
    if given.parameter == "kwargs":
        good = check_options(
            given.value, MOMENT_OPTIONS[algorithm], given.place, f"{algorithm} ({given.moment})", findings
        )
        known["kwargs"] = {
            name: value for name, value in known["kwargs"].items() if name in good or name not in given.value
        }
        return
    arguments = MAP_ARGUMENTS.get(algorithm, ())
    for argument in given.value:
        if argument.strip("_") not in arguments:
            what = f"{given.parameter} of {given.moment}: {algorithm} takes no map {argument!r}"
            findings.error(
                given.place, what, nearest(argument, arguments) if arguments else f"{algorithm} takes no maps"
            )


def _note_shared_files(
    values: Mapping[str, Mapping[str, Any]], places: Mapping[str, Place], findings: Findings
) -> None:
    owner: dict[str, str] = {}
    for name, known in values.items():
        for parameter in ("ext", "ext_error"):
            ext = str(known.get(parameter, "none")).strip("_")
            if ext.lower() != "none" and owner.setdefault(ext, name) != name:
                text = f"the files of {name} and of {owner[ext]} would both end in _{ext}.fits"
                findings.warning(places[name], text, "give one another ext, unless no config and product has both")


def _that_exist(
    parameter: str, items: tuple[str, ...], names: Names, moments: Collection[str], row: Row, findings: Findings
) -> Iterator[str]:
    known, what = (names.configs, "config") if parameter == "mask_configs" else (moments, "moment")
    yield from (item for item in items if is_known(item, known, row.place, f"{what} in {parameter}:", findings))


def _derived(config: str, product: str, settings: _Settings, findings: Findings) -> Derived:
    for tag in settings.ang_res.keys() & settings.phys_res.keys():
        findings.error(
            settings.places["phys_res"],
            f"{config} {product}: {tag!r} names an angular and a physical resolution: their files would be the same",
            f"give one another tag (ang_res is at {settings.places['ang_res']})",
        )
    return Derived(
        ang_res_arcsec=settings.ang_res,
        phys_res_pc=settings.phys_res,
        mask_configs=tuple(settings.mask_configs),
        moments=tuple(settings.moments),
        kwargs=settings.kwargs,
    )


def _moment_value(name: str, parameter: str, written: str, row: Row, findings: Findings) -> Any | None:
    if parameter in _LITERALS:
        return checked(written, _LITERALS[parameter], row.place, f"{parameter} of {name}", findings)
    if parameter not in _WORDS:
        findings.error(row.place, f"unknown parameter {parameter!r}", nearest(parameter, (*_WORDS, *_LITERALS)))
        return None
    known = {"algorithm": ALGORITHMS, "mask": MASKS}.get(parameter)
    no_mask = parameter == "mask" and written.lower() == "none"
    if known and written not in known and not no_mask:
        findings.error(row.place, f"{parameter} of {name}: {written!r} is not known", nearest(written, known))
        return None
    return written


def _is_complete(name: str, known: Mapping[str, Any], place: Place, findings: Findings) -> bool:
    absent = [parameter for parameter in ("algorithm", "ext") if parameter not in known]
    for parameter in absent:
        findings.error(place, f"moment {name} has no {parameter}", f"add a line: {name} {parameter} ...")
    return not absent


def _moment(name: str, known: Mapping[str, Any]) -> Moment:
    absent = {key: None for key in ("mask", "ext_error") if str(known.get(key)).lower() == "none"}
    return Moment(name=name, **{**known, **absent})
