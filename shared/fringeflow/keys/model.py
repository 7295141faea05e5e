"""The project as data: what the user wants, frozen once loaded, with nothing in it about files' syntax or the store.

Units: velocities km/s (LSRK, radio convention), frequencies GHz, angles arcsec, lengths pc, distances Mpc.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar

from pydantic import AfterValidator, Field

from fringeflow.frozen import Frozen

ImagingStage = Literal["dirty", "multiscale", "singlescale"]
IMAGING_STAGES: tuple[ImagingStage, ...] = ("dirty", "multiscale", "singlescale")


class FixedDict(dict[str, Any]):
    """A dictionary that refuses to change, so that nobody who is handed a part of a project can spoil it for others."""

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("a loaded project does not change: make a copy with dict() first")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[type[FixedDict], tuple[dict[str, Any]]]:
        return FixedDict, (dict(self),)


def _fixed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return FixedDict({key: _fixed(item) for key, item in value.items()})
    return value


V = TypeVar("V")
Fixed = Annotated[Mapping[str, V], AfterValidator(_fixed)]
"""A mapping of a project: what is in it stays as it was loaded."""


class Measurement(Frozen):
    """One line of the ms key: one measurement set of a target."""

    target: str
    project: str
    array_tag: str
    obsnum: str
    field: str = Field(description="CASA field selection, or 'all'")
    path: str = Field(description="relative to any ms_root")


class Target(Frozen):
    """One imaging field set with its phase centre and velocity window."""

    name: str
    ra: str
    dec: str
    vsys_kms: float
    vwidth_kms: float
    directory: str
    distance_mpc: float | None = None
    window: str | None = Field(default=None, description="full width of the flat mask, text with unit, e.g. '50km/s'")
    vfield_file: str | None = None
    mosaic_parent: str | None = None
    mosaic_parts: tuple[str, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    singledish: Fixed[str] = Field(default_factory=FixedDict)
    cleanmask: Fixed[str] = Field(default_factory=FixedDict, description="product (or 'all') -> file")

    @property
    def array_tags(self) -> frozenset[str]:
        """The array tags this target has measurement sets of."""
        return frozenset(item.array_tag for item in self.measurements)

    def cleanmask_for(self, product: str) -> str | None:
        """Return the clean mask of `product`: its own before the one for all."""
        return self.cleanmask.get(product, self.cleanmask.get("all"))


class InterfConfig(Frozen):
    """Array tags that are imaged together."""

    kind: Literal["interferometric"] = "interferometric"
    name: str
    array_tags: tuple[str, ...]
    requires: tuple[str, ...] = ()
    clean_scales_arcsec: tuple[float, ...]
    feather_configs: tuple[str, ...] = ()

    def groups(self) -> tuple[frozenset[str], ...]:
        """Return the groups of array tags of which each must have data (keys specification, section 8.3)."""
        found: list[frozenset[str]] = []
        for tag in self.array_tags:
            sets = [frozenset(item.split("|")) for item in self.requires if tag in item.split("|")]
            found += [group for group in sets or [frozenset([tag])] if group not in found]
        return tuple(found)

    def has_data(self, tags: frozenset[str]) -> bool:
        """Return whether array tags `tags` suffice for this config."""
        return all(group & tags for group in self.groups())


class FeatherConfig(Frozen):
    """An interferometric config combined with single-dish data."""

    kind: Literal["feather"] = "feather"
    name: str
    interf_config: str


class SingleDishConfig(Frozen):
    """Total-power processing settings, as the keys give them."""

    kind: Literal["singledish"] = "singledish"
    name: str
    parameters: Fixed[Any] = Field(default_factory=FixedDict)


class LineProduct(Frozen):
    """One line at one channel width, imaged as a cube."""

    kind: Literal["line"] = "line"
    name: str
    line_tag: str
    restfreq_ghz: float
    channel_kms: float = Field(gt=0, description="largest output channel width")
    statwt_edge_kms: float | None = None
    fitorder: int = Field(default=0, ge=0)
    combinespw: bool = False
    lines_to_flag: tuple[str, ...] = ()
    exclude_freq_ranges_ghz: tuple[tuple[float, float], ...] | None = None
    flag_edge_fraction: float = Field(default=0.0, ge=0, lt=0.5)


class ContProduct(Frozen):
    """A continuum product, imaged by multi-frequency synthesis."""

    kind: Literal["continuum"] = "continuum"
    name: str
    freq_ranges_ghz: tuple[tuple[float, float], ...] | None = None
    channel_ghz: float | None = None
    lines_to_flag: tuple[str, ...] = ()


class Derived(Frozen):
    """What is derived from the cubes of one config and product."""

    ang_res_arcsec: Fixed[float] = Field(default_factory=FixedDict)
    phys_res_pc: Fixed[float] = Field(default_factory=FixedDict)
    mask_configs: tuple[str, ...] = ()
    moments: tuple[str, ...] = ()
    kwargs: Fixed[Mapping[str, Any]] = Field(default_factory=FixedDict, description="'noise_kw' etc. -> options")


class Moment(Frozen):
    """One map of the moment key."""

    name: str
    algorithm: str
    mask: str | None = None
    ext: str
    ext_error: str | None = None
    round: int = 1
    kwargs: Fixed[Any] = Field(default_factory=FixedDict)
    maps_to_pass: tuple[str, ...] = ()
    other_exts: Fixed[str | tuple[str, ...]] = Field(
        default_factory=FixedDict, description="argument -> the end of a file's name, or several, the best first"
    )


class Recipe(Frozen):
    """The tclean parameters of one imaging stage, layered: base recipe, then the stage's own."""

    files: tuple[str, ...]
    parameters: Fixed[Any]


class Roots(Frozen):
    """Where the user's own files lie; every path is absolute."""

    key_dir: Path
    ms: tuple[Path, ...] = ()
    singledish: tuple[Path, ...] = ()
    cleanmask: tuple[Path, ...] = ()
    vfield: tuple[Path, ...] = ()


class Project(Frozen):
    """Everything the key files say, resolved and cross-checked."""

    master_key: Path
    roots: Roots
    targets: Fixed[Target]
    interf_configs: Fixed[InterfConfig]
    feather_configs: Fixed[FeatherConfig] = Field(default_factory=FixedDict)
    singledish_configs: Fixed[SingleDishConfig] = Field(default_factory=FixedDict)
    line_products: Fixed[LineProduct] = Field(default_factory=FixedDict)
    cont_products: Fixed[ContProduct] = Field(default_factory=FixedDict)
    derived: Fixed[Mapping[str, Derived]] = Field(
        default_factory=FixedDict, description="config -> product -> settings"
    )
    moments: Fixed[Moment] = Field(default_factory=FixedDict)
    recipes: Fixed[Mapping[str, Mapping[ImagingStage, Recipe]]] = Field(
        default_factory=FixedDict, description="config -> product -> stage -> recipe"
    )
    recipe_files: Fixed[Mapping[str, tuple[str, ...]]] = Field(
        default_factory=FixedDict, description="config -> product -> file names in stage order, for the report"
    )
    timebins: Fixed[str] = Field(default_factory=FixedDict, description="array tag -> timebin")
    overrides: Fixed[Mapping[str, str]] = Field(default_factory=FixedDict)
    line_frequencies_ghz: Fixed[float] = Field(default_factory=FixedDict, description="tag -> rest frequency")
    line_families: Fixed[tuple[str, ...]] = Field(default_factory=FixedDict, description="family -> tags")
    line_padding_kms: Fixed[float] = Field(
        default_factory=FixedDict, description="tag -> what to add on both sides of its velocity window, where not 0"
    )
    casa_versions: Fixed[str] = Field(default_factory=FixedDict, description="version -> path")
    download_restrictions: Fixed[Any] = Field(
        default_factory=FixedDict, description="target -> product -> config -> archive column -> allowed values"
    )
    sources: Fixed[tuple[str, ...]] = Field(
        default_factory=FixedDict, description="dotted name of a value -> 'file:line' of the lines that gave it"
    )

    @property
    def digest(self) -> str:
        """The sha256 of the project's content; paths of this machine and places in files do not enter."""
        content = self.model_dump(mode="json", exclude={"master_key", "roots", "sources"})
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def product(self, name: str) -> LineProduct | ContProduct:
        """Return the line or continuum product called `name`."""
        found = self.line_products.get(name) or self.cont_products.get(name)
        if found is None:
            raise KeyError(name)
        return found

    @property
    def products(self) -> tuple[str, ...]:
        """Names of all products, lines first."""
        return (*sorted(self.line_products, key=str.lower), *sorted(self.cont_products, key=str.lower))

    def configs_with_data(self, target: str) -> tuple[str, ...]:
        """Return the interferometric configs whose arrays `target` has, sorted."""
        tags = self.targets[target].array_tags
        return tuple(sorted(name for name, config in self.interf_configs.items() if config.has_data(tags)))

    def measurements(self, target: str, config: str) -> tuple[Measurement, ...]:
        """Return the measurement sets of `target` that `config` images, sorted by project, array and obsnum."""
        tags = self.interf_configs[config].array_tags
        chosen = [item for item in self.targets[target].measurements if item.array_tag in tags]
        return tuple(sorted(chosen, key=natural_order))

    def override(self, parameter: str, target: str, config: str, product: str, stage: str = "") -> str | None:
        """Return the override of `parameter`, the most specific key first (keys specification, section 8.8).

        With an imaging `stage`, keys ``target_config_product_stage`` come before all others.
        """
        for key in override_keys(target, config, product, stage):
            value = self.overrides.get(key, {}).get(parameter)
            if value is not None:
                return value
        return None

    def overrides_of(self, target: str, config: str, product: str) -> dict[str, str]:
        """Return all overrides that act on a cube, parameter -> value; see `override`."""
        found: dict[str, str] = {}
        for key in reversed(override_keys(target, config, product)):
            found |= {name: value for name, value in self.overrides.get(key, {}).items() if value is not None}
        return found

    def exclusion_window_kms(self, target: str) -> tuple[float, float]:
        """Return (vsys, vwidth) for leaving the line out: the mosaic's for its parts, so that all parts agree."""
        own = self.targets[target]
        chosen = self.targets.get(own.mosaic_parent or "", own)
        return chosen.vsys_kms, chosen.vwidth_kms


def override_keys(target: str, config: str, product: str, stage: str = "") -> tuple[str, ...]:
    """Return the keys of the override key that concern a cube, the most specific first."""
    cube = f"{target}_{config}_{product}"
    return (*((f"{cube}_{stage}",) if stage else ()), cube, f"{target}_{config}", target, "all")


def natural_order(item: Measurement) -> tuple[str, str, tuple[tuple[int, int | str], ...]]:
    """Return a sorting key by project, array tag and obsnum, numbers in the obsnum by their value: 2 before 10."""
    runs = re.findall(r"\d+|\D+", item.obsnum)
    return item.project, item.array_tag, tuple((0, int(run)) if run.isdecimal() else (1, run) for run in runs)
