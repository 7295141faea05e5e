"""The recipes of imaging: what keys, recipe files and overrides say of a cube or continuum image, checked. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from fringeflow.errors import DataError
from fringeflow.frozen import Frozen
from fringeflow.graph.imaging_overrides import CLEAN as _CLEAN
from fringeflow.graph.imaging_overrides import DECIDED as _DECIDED
from fringeflow.graph.imaging_overrides import LOOP as _LOOP
from fringeflow.graph.imaging_overrides import NOT_RECIPE as _NOT_RECIPE
from fringeflow.graph.imaging_overrides import Overrides, overridden
from fringeflow.keys.model import IMAGING_STAGES, ImagingStage, InterfConfig, LineProduct, Project
from fringeflow.keys.values import arcsec

_FIXED: Mapping[str, tuple[object, ...]] = {"nchan": (-1,), "start": ("",), "width": ("",), "mask": ("", [])}


class Sizing(Frozen):
    """How cell and image size are chosen (imaging specification, section 8); widths go before a number of pixels."""

    cell: float | None = Field(default=None, gt=0, description="arcsec; overrides the choice")
    imsize: tuple[int, int] | None = Field(
        default=None, description="pixels; overrides the choice", exclude_if=lambda value: value is None
    )
    deltara: float | None = Field(default=None, description="full width in arcsec")
    deltadec: float | None = Field(default=None, description="full width in arcsec")
    oversamp: float = Field(default=5.0, gt=1, description="pixels per beam")
    pb_level: float = Field(default=0.2, gt=0, lt=1, description="level of the primary beam that the image holds")
    force_square: bool = False
    dynamic_sizing: bool = Field(
        default=True, exclude=True, description="False: cell and imsize are those of the recipe, where it has them"
    )

    @field_validator("cell", mode="before")
    @classmethod
    def _in_arcsec(cls, value: Any) -> float | None:
        """Take what tclean takes: a number, a text with unit, or a list of one for each axis."""
        if value in (None, "", []):
            return None
        cells = {arcsec(item) for item in (value if isinstance(value, list | tuple) else [value])}
        if len(cells) > 1:
            raise ValueError("pixels must be square")
        return cells.pop()

    @field_validator("imsize", mode="before")
    @classmethod
    def _both_axes(cls, value: Any) -> tuple[int, int] | None:
        """Take what tclean takes: a number, or a list of one or two."""
        if value is None:
            return None
        sizes = tuple(value) if isinstance(value, list | tuple) else (value,)
        if len(sizes) not in (1, 2) or any(size <= 0 or size % 2 for size in sizes):
            raise ValueError("an image is one or two even numbers of pixels")
        return sizes[0], sizes[-1]


class Splitting(Frozen):
    """How a cube is split into blocks; nothing here may depend on who does the work."""

    block_pixels: int = Field(default=1_000_000, gt=0, description="pixels of one block, as far as channels allow")
    block_channels: int | None = Field(default=None, ge=1, description="channels of one block; overrides the choice")
    block_memory_mb: int = Field(default=1000, gt=0, description="no block is larger than this")


class Sparse(Frozen):
    """A part of a recipe that is written without the options which are not set, so that a new one changes no key."""

    @model_serializer(mode="wrap")
    def _written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        return {name: value for name, value in handler(self).items() if value is not None or fields[name].is_required()}


class AutoMaskRecipe(Frozen):
    """Masks that follow the clean, as of tclean's ``usemask = 'auto-multithresh'``, with its names and defaults."""

    sidelobethreshold: float = Field(default=3.0, ge=0)
    noisethreshold: float = Field(default=5.0, gt=0)
    lownoisethreshold: float = Field(default=1.5, gt=0)
    negativethreshold: float = Field(default=0.0, ge=0)
    smoothfactor: float = Field(default=1.0, ge=0)
    minbeamfrac: float = Field(default=0.3, ge=0)
    cutthreshold: float = Field(default=0.01, ge=0, lt=1)
    growiterations: int = Field(default=75, ge=0)
    dogrowprune: bool = True
    minpercentchange: float = -1.0


class CleanRecipe(Sparse):
    """One clean stage; names are tclean's or the reference's."""

    scales_arcsec: tuple[float, ...] = (0.0,)
    scale_rounding: Literal["nearest", "down"] = Field(default="nearest", description="of scales to pixels")
    smallscalebias: float = Field(default=0.9, ge=0, lt=1)
    scale_threshold: Literal["alike", "biased"] = Field(
        default="alike", description="the same significance at every scale, or after smallscalebias as in tclean"
    )
    snr: float = Field(gt=0, description="residual peak, in units of the noise, to clean to")
    threshold_margin: float = Field(default=0.95, ge=0.5, le=1, description="part of the threshold a cycle goes on to")
    gain: float = Field(default=0.1, gt=0, le=1)
    cyclefactor: float = Field(default=1.0, gt=0)
    minpsffraction: float = Field(default=0.05, ge=0, lt=1)
    maxpsffraction: float = Field(default=0.8, gt=0, lt=1)
    cycleniter: int = Field(default=1000, gt=0, description="most components of a channel in one cycle")
    max_components: int = Field(default=15000, gt=0, description="most components of a channel in a stage")
    max_cycles: int = Field(default=40, gt=0, description="most major cycles of a stage")
    convergence_fracflux: float = Field(default=0.01, ge=0)
    stop_at_negative: bool = False
    convergence_totalflux: float | None = Field(default=None, gt=0, description="Jy, in a channel")
    convergence_fluxperniter: float | None = Field(default=None, gt=0, description="Jy")
    convergence_noise_z_threshold: float | None = Field(default=None, gt=0)
    cleanmask_grow_arcsec: float | None = Field(default=None, gt=0, description="on the sky, of a mask from a file")
    automask: AutoMaskRecipe | None = None


class MaskRecipe(Sparse):
    """The signal mask between the clean stages (imaging specification, section 11)."""

    singlescale_mask_high_snr: float = Field(default=4.0, gt=0)
    singlescale_mask_low_snr: float = Field(default=2.0, gt=0)
    singlescale_mask_absolute: bool = True
    mask_noise: Literal["channel", "cube"] = Field(default="channel", description="one noise per channel, or for all")
    mask_min_beams: float = Field(default=0.5, ge=0, description="least area in a channel, in beam areas")
    mask_min_channels: int = Field(default=1, ge=1)
    mask_seed_channels: int | None = Field(default=None, ge=1, description="a seed is above in so many in a row")
    mask_grow_beams: float | None = Field(default=None, gt=0, description="on the sky, within the clean mask")


class PriorRecipe(Frozen):
    """The clean mask found by imaging at low resolution first, where none is given (imaging specification, W28)."""

    prior_taper_arcsec: float = Field(gt=0, description="FWHM of the taper on the sky")
    prior_mask_high_snr: float = Field(default=4.0, gt=0)
    prior_mask_low_snr: float = Field(default=2.0, gt=0)
    prior_mask_grow_beams: float = Field(default=1.0, ge=0, description="on the sky, in beams of the low resolution")


class ImagingRecipe(Sparse):
    """All parameters of one cube or continuum image."""

    kind: Literal["line", "continuum"]
    phasecenter: str
    restfreq_ghz: float | None
    tclean: Mapping[str, Any] = Field(description="how visibilities are gridded, in tclean's terms")
    sizing: Sizing
    splitting: Splitting
    multiscale: CleanRecipe
    mask: MaskRecipe
    singlescale: CleanRecipe
    prior: PriorRecipe | None = None

    @model_validator(mode="after")
    def _checked(self) -> Self:
        wanted = "cube" if self.kind == "line" else "mfs"
        if self.tclean.get("specmode", wanted) != wanted:
            raise ValueError(f"specmode must be {wanted!r} for a {self.kind} product")
        for name, allowed in _FIXED.items():
            if name in self.tclean and self.tclean[name] not in allowed:
                where = "the cleanmask key" if name == "mask" else "the product's channel width"
                raise ValueError(f"{name} cannot be set in an imaging recipe: use {where}")
        return self


class Recipes:
    """The recipes of one project as JSON: those of cubes that differ in their target only are worked out once."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._known: dict[tuple[str, str, tuple[tuple[str, str], ...]], Mapping[str, Any]] = {}

    def of(self, target: str, config: str, product: str) -> dict[str, Any]:
        """Return the recipe of a cube."""
        project = self._project
        given = project.overrides_of(target, config, product)
        own = (
            (f"{stage} {name}", value)
            for stage in IMAGING_STAGES
            for name, value in project.overrides.get(f"{target}_{config}_{product}_{stage}", {}).items()
        )
        which = config, product, (*given.items(), *own)
        if which not in self._known:
            self._known[which] = recipe_of(self._project, target, config, product).model_dump(mode="json")
        return {**self._known[which], "phasecenter": _phasecenter(self._project, target)}


def recipe_of(project: Project, target: str, config: str, product: str) -> ImagingRecipe:
    """Return the resolved recipe: defaults, then the recipe file of each stage, then overrides (W1, W2)."""
    which = (target, config, product)
    layers = project.recipes.get(config, {}).get(product, {})
    absent = [stage for stage in IMAGING_STAGES if stage not in layers]
    if absent:
        raise DataError(
            f"no imaging recipe for {config} {product}, stage {', '.join(absent)}",
            remedy="add a line to the imaging key",
        )
    wanted = project.product(product)
    line = isinstance(wanted, LineProduct)
    picks = {stage: Overrides(project, which, stage) for stage in IMAGING_STAGES}
    stages = {stage: overridden(picks[stage], dict(layers[stage].parameters)) for stage in IMAGING_STAGES}
    grid = {name: value for name, value in stages["dirty"].items() if name not in (*_DECIDED, *_NOT_RECIPE)}
    grid |= {name: stages["dirty"][name] for name in _FIXED if name in stages["dirty"]}
    pick = Overrides(project, which)
    try:
        return ImagingRecipe(
            kind="line" if line else "continuum",
            phasecenter=_phasecenter(project, target),
            restfreq_ghz=wanted.restfreq_ghz if isinstance(wanted, LineProduct) else None,
            tclean=grid,
            sizing=_sizing(pick, layers["dirty"].parameters),
            splitting=Splitting(**pick.of(Splitting)),
            multiscale=_multiscale(picks["multiscale"], stages["multiscale"], project.interf_configs[config]),
            mask=MaskRecipe(**pick.of(MaskRecipe)),
            singlescale=_clean(picks["singlescale"], stages["singlescale"], "singlescale", {"snr": 1.0}),
            prior=PriorRecipe(**prior) if (prior := pick.of(PriorRecipe)) else None,
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(
            f"{target} {config} {product}: {where or 'imaging recipe'}: {first['msg']}",
            remedy="correct it in the overrides or the imaging recipe",
        ) from error


def _phasecenter(project: Project, target: str) -> str:
    return f"J2000 {project.targets[target].ra} {project.targets[target].dec}"


def _sizing(pick: Overrides, recipe: Mapping[str, Any]) -> Sizing:
    """Return how large image and pixels are: as the data want it or, without dynamic sizing, as the recipe says."""
    taken = ("cell", "imsize") if pick.value("dynamic_sizing") is False else ()
    return Sizing(**{**{name: recipe[name] for name in taken if name in recipe}, **pick.of(Sizing)})


def _multiscale(pick: Overrides, parameters: Mapping[str, Any], config: InterfConfig) -> CleanRecipe:
    given = {
        "snr": 4.0,
        "scales_arcsec": pick.value("clean_scales_arcsec") or config.clean_scales_arcsec or (0.0,),
        "stop_at_negative": True,
        "cleanmask_grow_arcsec": pick.value("cleanmask_grow_arcsec"),
    }
    if parameters.get("usemask") == "auto-multithresh":
        limits = AutoMaskRecipe.model_fields
        given["automask"] = {name: value for name, value in parameters.items() if name in limits}
    return _clean(pick, parameters, "multiscale", given)


def _clean(
    pick: Overrides, parameters: Mapping[str, Any], stage: ImagingStage, given: Mapping[str, Any]
) -> CleanRecipe:
    own = {name: parameters[name] for name in _CLEAN if name in parameters}
    loop = {name: value for name in _LOOP if (value := pick.value(name)) is not None}
    stops = {"snr": f"{stage}_threshold_value", "threshold_margin": f"{stage}_threshold_margin"}
    of_stage = {name: value for name, word in stops.items() if (value := pick.value(word)) is not None}
    return CleanRecipe.model_validate({**given, **own, **loop, **of_stage})
