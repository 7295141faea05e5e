"""Questions about a loaded project: which targets, which measurement sets, in which order (keys specification, 8, 9).

Every answer is new: nothing here hands out or changes what the project holds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from copy import deepcopy
from typing import Any

from fringeflow.keys.model import Measurement, Project, natural_order


def select(
    names: Iterable[str],
    *,
    first: str | None = None,
    last: str | None = None,
    skip: Collection[str] = (),
    only: Collection[str] | None = None,
) -> tuple[str, ...]:
    """Return the chosen `names`, sorted without regard to case, as all comparisons are (keys specification, 9.1).

    `first` and `last` bound the names alphabetically and need not be among them; `only` None means no restriction.
    """
    skipped = {name.lower() for name in skip}
    kept = None if only is None else {name.lower() for name in only}
    return tuple(
        name
        for name in sorted(names, key=str.lower)
        if (first is None or name.lower() >= first.lower())
        and (last is None or name.lower() <= last.lower())
        and name.lower() not in skipped
        and (kept is None or name.lower() in kept)
    )


def mosaics(project: Project) -> tuple[str, ...]:
    """Return the targets that are linear mosaics of others."""
    return select(name for name, target in project.targets.items() if target.mosaic_parts)


def whole_targets(project: Project) -> tuple[str, ...]:
    """Return the targets that are not a part of a linear mosaic."""
    return select(name for name, target in project.targets.items() if target.mosaic_parent is None)


def measurement_sets(
    project: Project,
    *,
    targets: Collection[str] | None = None,
    configs: Collection[str] | None = None,
    projects: Collection[str] | None = None,
    with_parts: bool = False,
) -> tuple[Measurement, ...]:
    """Return the measurement sets of the chosen targets, configs and projects (keys specification, 8.4).

    None is no restriction; an empty collection chooses nothing. Of a config, only targets with all the data it needs
    count. `with_parts` adds the parts of every mosaic named. Ordered by target, project, array tag and obsnum, the
    obsnum by its number.
    """
    chosen = set(project.targets if targets is None else targets)
    if with_parts:
        chosen |= {part for name in chosen for part in project.targets[name].mosaic_parts}
    found: list[Measurement] = []
    for name in sorted(chosen):
        tags = _array_tags(project, name, configs)
        found += sorted(
            (
                item
                for item in project.targets[name].measurements
                if (tags is None or item.array_tag in tags) and (projects is None or item.project in projects)
            ),
            key=natural_order,
        )
    return tuple(found)


def casa_path(project: Project, version: str) -> str | None:
    """Return where a CASA version lies: the very one, else the first equal up to the first ``-``."""
    if version in project.casa_versions:
        return project.casa_versions[version]
    release = version.partition("-")[0]
    return next((path for known, path in project.casa_versions.items() if known.partition("-")[0] == release), None)


def download_restrictions(project: Project, target: str, product: str, config: str) -> dict[str, Any]:
    """Return archive column -> allowed values: those of the target before all, then product, then config."""
    table: Mapping[str, Any] = project.download_restrictions
    for target_key in (target, "all"):
        for product_key in (product, "all"):
            for config_key in (config, "all"):
                found = table.get(target_key, {}).get(product_key, {}).get(config_key)
                if found is not None:
                    return deepcopy(dict(found))
    return {}


def _array_tags(project: Project, target: str, configs: Collection[str] | None) -> set[str] | None:
    if configs is None:
        return None
    usable = set(configs).intersection(project.configs_with_data(target))
    return {tag for config in usable for tag in project.interf_configs[config].array_tags}
