"""A project as plain data: what `fringeflow keys --json` prints, in the reference's own structure.

Extra members may be added; those there are keep their names.
"""

from __future__ import annotations

from typing import Any

from fringeflow.keys.model import ContProduct, Derived, InterfConfig, LineProduct, Moment, Project, Target


def project_as_data(project: Project) -> dict[str, Any]:
    """Return targets, configs, products, derived settings, moments and overrides as JSON can hold them."""
    used = {name for row in project.derived.values() for settings in row.values() for name in settings.moments}
    return {
        "targets": {name: _target(project, target) for name, target in project.targets.items()},
        "configs": {
            **{name: _interf(config) for name, config in project.interf_configs.items()},
            **{
                name: {"kind": "feather", "interf_config": config.interf_config}
                for name, config in project.feather_configs.items()
            },
        },
        "products": {name: _product(project.product(name)) for name in project.products},
        "derived": {
            config: {product: _derived(project, config, product, settings) for product, settings in row.items()}
            for config, row in project.derived.items()
        },
        "moments": {name: _moment(moment) for name, moment in project.moments.items() if name in used},
        "overrides": {key: dict(row) for key, row in project.overrides.items()},
    }


def _target(project: Project, target: Target) -> dict[str, Any]:
    inputs = sorted(target.measurements, key=lambda item: (item.project, item.array_tag, item.obsnum))
    return {
        "phasecenter": [target.ra, target.dec],
        "vsys_kms": target.vsys_kms,
        "vwidth_kms": target.vwidth_kms,
        "distance_mpc": target.distance_mpc,
        "window": target.window,
        "mosaic_parent": target.mosaic_parent,
        "mosaic_parts": sorted(target.mosaic_parts),
        "directory": target.directory,
        "inputs": [
            {
                "project": item.project,
                "array_tag": item.array_tag,
                "obsnum": item.obsnum,
                "field": item.field,
                "file": item.path,
            }
            for item in inputs
        ],
        "configs_with_data": list(project.configs_with_data(target.name)),
        "singledish": dict(target.singledish),
        "cleanmask": dict(target.cleanmask),
    }


def _interf(config: InterfConfig) -> dict[str, Any]:
    return {
        "kind": config.kind,
        "array_tags": list(config.array_tags),
        "requires": list(config.requires),
        "clean_scales_arcsec": list(config.clean_scales_arcsec),
        "feather_config": config.feather_configs[-1] if config.feather_configs else None,
        "feather_configs": list(config.feather_configs),
    }


def _product(product: LineProduct | ContProduct) -> dict[str, Any]:
    return product.model_dump(mode="json", exclude={"name", "restfreq_ghz"})


def _derived(project: Project, config: str, product: str, settings: Derived) -> dict[str, Any]:
    return {
        "recipes": list(project.recipe_files.get(config, {}).get(product, ())),
        "ang_res_arcsec": dict(settings.ang_res_arcsec),
        "phys_res_pc": dict(settings.phys_res_pc),
        "mask_configs": sorted(settings.mask_configs),
        "moments": list(settings.moments),
        "mask_kwargs": dict(settings.kwargs.get("strictmask_kw", {})),
    }


def _moment(moment: Moment) -> dict[str, Any]:
    # The moment key's word for no mask is the text None.
    return {**moment.model_dump(mode="json", exclude={"name"}), "mask": moment.mask or "None"}


def jsonable(value: object) -> object:
    """Return what JSON has no form for as something that it has."""
    if hasattr(value, "items"):
        return dict(value.items())
    if isinstance(value, (set, frozenset, tuple)):
        return sorted(value)
    return str(value)
