"""Cross-references over a whole project: entries nothing uses, data something needs, files that would be the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fringeflow import names
from fringeflow.keys.master import Master
from fringeflow.keys.model import IMAGING_STAGES, Derived, InterfConfig, Project, override_keys
from fringeflow.keys.parameters import resembling
from fringeflow.keys.problems import Findings, Place

_SAME_KMS = 1e-6


def cross_check(project: Project, master: Master, findings: Findings) -> None:
    """Note what is unused, missing or in conflict in a project."""
    for check in (
        _roots,
        _array_tags,
        _idle_targets,
        _velocity_windows,
        _idle_configs,
        _overrides,
        _physical,
        _flat,
        _passed_maps,
        _collisions,
    ):
        check(project, master, findings)


def _roots(project: Project, master: Master, findings: Findings) -> None:
    wanted = (
        ("ms_root", project.roots.ms, any(target.measurements for target in project.targets.values())),
        ("singledish_root", project.roots.singledish, any(target.singledish for target in project.targets.values())),
        ("cleanmask_root", project.roots.cleanmask, any(target.cleanmask for target in project.targets.values())),
        ("vfield_root", project.roots.vfield, any(target.vfield_file for target in project.targets.values())),
    )
    for keyword, roots, needed in wanted:
        if needed and not roots:
            text = f"no {keyword}, yet there are files to be looked for below it"
            findings.warning(Place(master.path), text, f"add a line: {keyword} FOLDER")
    if not master.files.get("imaging_key"):
        findings.warning(Place(master.path), "no imaging_key: nothing can be imaged", "add a line: imaging_key FILE")


def _array_tags(project: Project, master: Master, findings: Findings) -> None:
    known = {tag for config in project.interf_configs.values() for tag in config.array_tags}
    raw = {*project.singledish_configs, "tp"} - known
    unused: dict[str, list[Place]] = {}
    for target in project.targets.values():
        for item in target.measurements:
            source = f"targets.{target.name}.measurements.{item.project}.{item.array_tag}.{item.obsnum}"
            place = _place(project, source, master.place("ms_key"))
            if item.array_tag in raw:
                unused.setdefault(item.array_tag, []).append(place)
            elif item.array_tag not in known:
                text = f"array tag {item.array_tag!r} is in no interf_config: the measurement set is not used"
                findings.warning(place, text, f"known: {', '.join(sorted(known))}")
    for tag, places in unused.items():
        text = f"array tag {tag!r} is single-dish data, which are not reduced here: {len(places)} of its lines not used"
        first = min(places, key=lambda place: (str(place.file), place.line or 0))
        findings.warning(first, text, "name reduced cubes in the singledish_key")


def _idle_targets(project: Project, master: Master, findings: Findings) -> None:
    for target in project.targets.values():
        if not target.measurements and not target.mosaic_parts:
            place = _place(project, f"targets.{target.name}", master.place("target_key"))
            findings.warning(place, f"target {target.name} has no measurement set", "add it to the ms_key")


def _velocity_windows(project: Project, master: Master, findings: Findings) -> None:
    """Note parts of which more is extracted than is left out of the continuum fit, where the mosaic's window counts."""
    for target in project.targets.values():
        if target.mosaic_parent is not None:
            vsys, vwidth = project.exclusion_window_kms(target.name)
            low, high = target.vsys_kms - target.vwidth_kms / 2, target.vsys_kms + target.vwidth_kms / 2
            if low < vsys - vwidth / 2 - _SAME_KMS or high > vsys + vwidth / 2 + _SAME_KMS:
                place = _place(project, f"targets.{target.name}", master.place("target_key"))
                text = (
                    f"the window of {target.name}, {low:g} to {high:g} km/s, is not within that of its mosaic "
                    f"{target.mosaic_parent}, {vsys - vwidth / 2:g} to {vsys + vwidth / 2:g} km/s: a line beyond it is "
                    "taken for continuum"
                )
                findings.warning(place, text, f"make the window of {target.mosaic_parent} hold those of its parts")


def _idle_configs(project: Project, master: Master, findings: Findings) -> None:
    used = {config for target in project.targets for config in project.configs_with_data(target)}
    for name in project.interf_configs:
        if name not in used:
            place = _place(project, f"configs.interf_config.{name}.array_tags", master.place("config_key"))
            findings.warning(place, *_why_idle(project, project.interf_configs[name]))


def _why_idle(project: Project, config: InterfConfig) -> tuple[str, str]:
    """Return what is missing where most of what `config` needs is there, and what helps."""
    groups = config.groups()
    lacks = {
        name: [" or ".join(sorted(group)) for group in groups if not group & target.array_tags]
        for name, target in project.targets.items()
    }
    text = f"no target has the data that config {config.name} needs"
    nearest = min(lacks, key=lambda name: len(lacks[name]), default="")
    if not nearest or len(lacks[nearest]) == len(groups):
        return text, "add measurement sets with its array_tags to the ms_key, or remove it"
    return (
        f"{text}: {nearest}, say, has none of {' and none of '.join(lacks[nearest])}",
        f"if one of its arrays is enough, give the config 'requires':['{'|'.join(config.array_tags)}']",
    )


def _overrides(project: Project, master: Master, findings: Findings) -> None:
    concerned = {
        key
        for target in project.targets
        for config in (*project.interf_configs, *project.feather_configs)
        for product in project.products
        for stage in IMAGING_STAGES
        for key in override_keys(target, config, product, stage)
    }
    for key, parameters in project.overrides.items():
        for parameter in parameters:
            if key not in concerned:
                place = _place(project, f"overrides.{key}.{parameter}", master.place("override_key"))
                text = f"override of {parameter} for {key!r}, which is no target and no cube: not used"
                meant = resembling(key.split("_")[0], project.targets)
                remedy = f"perhaps {' or '.join(meant)} is meant; " if meant else ""
                findings.warning(place, text, f"{remedy}write TARGET, TARGET_CONFIG, TARGET_CONFIG_PRODUCT or all")


def _physical(project: Project, master: Master, findings: Findings) -> None:
    for name in _derived_targets(project):
        wanted = any(settings.phys_res_pc for settings in _settings(project, name))
        if wanted and project.targets[name].distance_mpc is None:
            text = f"{name} has no distance, which its physical resolutions need: they are left out"
            findings.warning(master.place("distance_key"), text, f"add a line: {name},DISTANCE_IN_MPC")


def _flat(project: Project, master: Master, findings: Findings) -> None:
    flat = {name for name, moment in project.moments.items() if moment.mask in ("flatstrictmask", "flatbroadmask")}
    for name in _derived_targets(project):
        wanted = any(flat.intersection(settings.moments) for settings in _settings(project, name))
        if wanted and project.targets[name].window is None:
            text = f"{name} has no velocity window, which its flat masks need: they are left out"
            findings.warning(master.place("window_key"), text, f"add a line: {name},WINDOW_IN_KMS,VELOCITY_FIELD_FILE")


def _passed_maps(project: Project, master: Master, findings: Findings) -> None:
    """Note maps that are passed on and made by nothing; which comes first follows from that, not from the rounds."""
    makers: dict[str, set[str]] = {}
    for moment in project.moments.values():
        for ext in filter(None, (moment.ext, moment.ext_error)):
            makers.setdefault(ext.strip("_"), set()).add(moment.name)
    for moment in project.moments.values():
        for ext in moment.maps_to_pass:
            if not makers.get(ext.strip("_"), set()) - {moment.name}:
                place = _place(project, f"moments.{moment.name}.maps_to_pass", master.place("moment_key"))
                text = f"{moment.name} is passed the map {ext!r}, which no moment makes"
                findings.error(place, text, "give the ext or ext_error of another moment")


def _collisions(project: Project, master: Master, findings: Findings) -> None:
    taken: dict[tuple[str, str], tuple[str, str, str]] = {}
    for target in project.targets.values():
        for config in (*project.interf_configs, *project.feather_configs):
            for product in project.products:
                cube = (target.name, config, product)
                other = taken.setdefault((target.directory, names.cube(*cube)), cube)
                if other != cube:
                    text = f"the files of {' '.join(cube)} and of {' '.join(other)} would both be {names.cube(*cube)}"
                    findings.error(master.place("config_key"), text, "rename a target, config or product")


def _derived_targets(project: Project) -> Iterator[str]:
    yield from (name for name, target in project.targets.items() if target.mosaic_parent is None)


def _settings(project: Project, name: str) -> Iterator[Derived]:
    """Yield what is derived of a target, over all configs it or its mosaic parts have data for."""
    tags = {name, *project.targets[name].mosaic_parts}
    configs = {config for part in tags for config in project.configs_with_data(part)}
    configs |= {feather for config in configs for feather in project.interf_configs[config].feather_configs}
    for config in sorted(configs):
        yield from project.derived.get(config, {}).values()


def _place(project: Project, source: str, otherwise: Place) -> Place:
    file, _, line = project.sources.get(source, ("",))[-1].rpartition(":")
    return Place(Path(file), int(line)) if file else otherwise
