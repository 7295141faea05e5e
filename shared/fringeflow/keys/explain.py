"""Where everything about one cube came from: each input and parameter with the file and line that gave it (K34)."""

from __future__ import annotations

from typing import Any

from fringeflow.keys.model import IMAGING_STAGES, Project, override_keys


def explain(project: Project, target: str, config: str, product: str) -> dict[str, Any]:
    """Return, as JSON can hold it, what makes a cube what it is: every value as ``{"value", "from"}``.

    Raises
    ------
    KeyError
        The target, config or product is not in the project.
    """
    feather = project.feather_configs.get(config)
    interf = project.interf_configs[feather.interf_config if feather else config]
    definition = project.product(product)
    kind = "line_product" if product in project.line_products else "cont_product"
    return {
        "target": _target(project, target),
        "inputs": [
            _told(project, item.path, f"targets.{target}.measurements.{item.project}.{item.array_tag}.{item.obsnum}")
            for item in project.measurements(target, interf.name)
        ],
        "config": _members(project, interf, f"configs.interf_config.{interf.name}"),
        "product": _members(project, definition, f"configs.{kind}.{product}"),
        "imaging": {stage: _stage(project, target, interf.name, product, stage) for stage in IMAGING_STAGES},
        "derived": _derived(project, config, product),
    }


def _target(project: Project, name: str) -> dict[str, Any]:
    target = project.targets[name]
    whole = target.mosaic_parent or name
    own = ("ra", "dec", "vsys_kms", "vwidth_kms")
    return {
        **{member: _told(project, getattr(target, member), f"targets.{name}") for member in own},
        "directory": _told(project, target.directory, f"targets.{name}.directory"),
        "distance_mpc": _told(project, target.distance_mpc, f"targets.{whole}.distance_mpc"),
        "window": _told(project, target.window, f"targets.{whole}.window"),
        "vfield_file": _told(project, target.vfield_file, f"targets.{whole}.window"),
        "singledish": _files(project, name, "singledish"),
        "cleanmask": _files(project, name, "cleanmask"),
    }


def _files(project: Project, name: str, what: str) -> dict[str, Any]:
    files: dict[str, str] = getattr(project.targets[name], what)
    return {product: _told(project, file, f"targets.{name}.{what}.{product}") for product, file in files.items()}


def _members(project: Project, definition: Any, source: str) -> dict[str, Any]:
    data = definition.model_dump(mode="json", exclude={"name", "kind"})
    return {member: _told(project, value, f"{source}.{member}") for member, value in data.items()}


def _stage(project: Project, target: str, config: str, product: str, stage: str) -> dict[str, Any]:
    recipes = {str(name): recipe for name, recipe in project.recipes.get(config, {}).get(product, {}).items()}
    found = {
        name: _told(project, value, f"recipes.{config}.{product}.{stage}.{name}")
        for name, value in (recipes[stage].parameters if stage in recipes else {}).items()
    }
    for key in reversed(override_keys(target, config, product, stage)):
        for name, text in project.overrides.get(key, {}).items():
            found[name] = _told(project, text, f"overrides.{key}.{name}")
    return found


def _derived(project: Project, config: str, product: str) -> dict[str, Any]:
    source = f"derived.{config}.{product}"
    settings = project.derived[config][product].model_dump(mode="json")
    options = settings.pop("kwargs")
    keys = {"ang_res_arcsec": "ang_res", "phys_res_pc": "phys_res"}
    return {
        **{name: _told(project, value, f"{source}.{keys.get(name, name)}") for name, value in settings.items()},
        **{name: _told(project, value, f"{source}.{name}") for name, value in options.items()},
    }


def _told(project: Project, value: Any, source: str) -> dict[str, Any]:
    return {"value": value, "from": list(project.sources.get(source, ()))}
