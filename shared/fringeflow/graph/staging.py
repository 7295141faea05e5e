"""The units of staging: one measurement set per target, config and product, and what each recipe must say.

Knows names and numbers of the project; no visibilities, no CASA, no paths of this machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from fringeflow import names
from fringeflow.frozen import Frozen
from fringeflow.graph.model import Graph, Unit, UnitId
from fringeflow.keys import lines
from fringeflow.keys.model import ContProduct, LineProduct, Project
from fringeflow.keys.parameters import VISIBILITIES, override_value

STAGE = "staging"
FACT = "visibilities.staged"
# Raise it when the science of the stage changes its results.
REVISION = 1
TARGET_INTENT = "OBSERVE_TARGET*"

Method = Literal["regrid_then_rebin", "rebin_then_regrid", "just_regrid", "just_rebin", "conserve"]
_ONLY_WHEN_SET = frozenset(
    ("weight_seconds", "intent", "area", "area_beams", "method", "grid", "weights", "contsub", "cover_window")
)
"""Members that recipes have only where the keys give them, so that others keep their work keys."""


class StagingInput(Frozen):
    """One measurement set that is used."""

    leaf: str = Field(description="name of the dropped input")
    field: str = Field(description="CASA field selection, or 'all'")
    array_tag: str
    timebin: str = "0s"
    intent: str = TARGET_INTENT


class ExcludedLine(Frozen):
    """A line that is not continuum."""

    restfreq_ghz: float
    padding_kms: float = Field(default=0.0, description="on both sides, for hyperfine structure")


class _Common(Frozen):
    inputs: tuple[StagingInput, ...]
    array_groups: tuple[tuple[str, ...], ...] = Field(description="of each group at least one array must contribute")
    exclude_vsys_kms: float = Field(description="LSRK, radio; the mosaic's for its parts")
    exclude_vwidth_kms: float
    exclude_lines: tuple[ExcludedLine, ...] = ()
    full_coverage: bool = Field(default=False, description="use only windows that hold all of the line or range")
    corrections_off: tuple[Literal["S1", "S2", "S5", "S6", "S12", "S15", "S18"], ...] = Field(
        default=(), description="corrections of the reference not to make (staging specification, section 15.1)"
    )
    weight_seconds: float | None = Field(default=None, description="time bin of weights measured on native channels")
    intent: str | None = Field(default=None, description="of the rows to use, instead of that of the inputs")
    area: tuple[tuple[float, float], ...] | None = Field(
        default=None, description="use only pointings that see it: corners (right ascension, declination), J2000 deg"
    )
    area_beams: float | None = Field(default=None, description="how far a pointing sees, in half primary beams")


class LineRecipe(_Common):
    """The parameters of a line product's visibilities."""

    kind: Literal["line"] = "line"
    restfreq_ghz: float
    vsys_kms: float = Field(description="LSRK, radio")
    vwidth_kms: float
    channel_kms: float
    statwt_edge_kms: float | None = None
    fitorder: int = 0
    combinespw: bool = False
    exclude_freq_ranges_ghz: tuple[tuple[float, float], ...] | None = None
    flag_edge_fraction: float = 0.0
    method: Method | None = Field(default=None, description="how native channels become those of the product")
    grid: Literal["max", "exact"] | None = Field(default=None, description="whether channel_kms is a limit or exact")
    weights: Literal["scatter", "native", "propagated"] | None = None
    contsub: Literal["prefer", "require", "none"] | None = None
    cover_window: bool | None = Field(default=None, description="add the channels that reach the end of the window")


class ContinuumRecipe(_Common):
    """The parameters of a continuum product's visibilities."""

    kind: Literal["continuum"] = "continuum"
    freq_ranges_ghz: tuple[tuple[float, float], ...] | None = None
    channel_ghz: float | None = None
    reweigh: bool | Literal["native"] = Field(
        default=False,
        description="measure weights on the scatter over the line-free channels, of integrations or in bins of time",
    )


_RECIPE: TypeAdapter[LineRecipe | ContinuumRecipe] = TypeAdapter(
    Annotated[LineRecipe | ContinuumRecipe, Field(discriminator="kind")]
)


def read_recipe(recipe: Mapping[str, Any]) -> LineRecipe | ContinuumRecipe:
    """Return the recipe that a staging unit carries."""
    return _RECIPE.validate_python(recipe)


def unit_id(target: str, config: str, product: str) -> UnitId:
    """Return the id of the unit that makes these visibilities."""
    return UnitId(stage=STAGE, target=target, config=config, product=product)


_Chosen = tuple[tuple[str, str], ...]


class Recipes:
    """The recipes of one project as JSON: what those of all targets have in common is worked out once."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._lines = lines.known_to(project)
        self._shared: dict[tuple[str, str, _Chosen], Mapping[str, Any]] = {}
        self._names = sorted({name for row in project.overrides.values() for name in row if name in VISIBILITIES})

    def of(self, target: str, config: str, product: str, inputs: tuple[StagingInput, ...]) -> dict[str, Any]:
        """Return the recipe of these visibilities, without its inputs."""
        chosen = self._chosen(target, config, product)
        which = config, product, chosen
        if which not in self._shared:
            recipe = _recipe(self._project, self._lines, target, config, product, inputs, chosen)
            content = recipe.model_dump(mode="json")
            self._shared[which] = {
                name: value for name, value in content.items() if value is not None or name not in _ONLY_WHEN_SET
            }
        return {**self._shared[which], **_window(self._project, target, product)}

    def _chosen(self, target: str, config: str, product: str) -> _Chosen:
        """Return what overrides say about this unit: (parameter, text)."""
        written = ((name, self._project.override(name, target, config, product)) for name in self._names)
        return tuple((name, text) for name, text in written if text is not None)


def add_units(project: Project, target: str, graph: Graph, recipes: Recipes | None = None) -> None:
    """Add the visibilities of every config that `target` has the arrays of, and every product."""
    known = recipes or Recipes(project)
    for config in project.configs_with_data(target):
        inputs = _inputs(project, target, config)
        leaves = tuple(item.leaf for item in inputs)
        content = [item.model_dump(mode="json") for item in inputs]
        for product in project.products:
            graph.add(
                Unit(
                    id=unit_id(target, config, product),
                    revision=REVISION,
                    recipe=known.of(target, config, product, inputs) | {"inputs": content},
                    leaves=leaves,
                    outputs=(names.visibilities(target, config, product),),
                    fact=FACT,
                )
            )


_REWEIGH: Mapping[str, bool | Literal["native"]] = {"scatter": True, "native": "native", "propagated": False}


def _recipe(
    project: Project,
    known: lines.LineTable,
    target: str,
    config: str,
    product: str,
    inputs: tuple[StagingInput, ...],
    chosen: _Chosen,
) -> LineRecipe | ContinuumRecipe:
    wanted = project.product(product)
    options = {name.removeprefix("staging_"): override_value(name, text) for name, text in chosen}
    common: dict[str, Any] = {
        "inputs": inputs,
        "array_groups": tuple(tuple(sorted(group)) for group in project.interf_configs[config].groups()),
        "exclude_lines": _excluded(known, wanted),
        **{name: value for name, value in options.items() if name in _Common.model_fields},
        **_window(project, target, product),
    }
    if isinstance(wanted, ContProduct):
        return ContinuumRecipe(
            **common,
            freq_ranges_ghz=wanted.freq_ranges_ghz,
            channel_ghz=wanted.channel_ghz,
            reweigh=_REWEIGH[options.get("weights", "propagated")],
        )
    return LineRecipe(
        **common,
        restfreq_ghz=wanted.restfreq_ghz,
        channel_kms=wanted.channel_kms,
        statwt_edge_kms=wanted.statwt_edge_kms,
        fitorder=wanted.fitorder,
        combinespw=wanted.combinespw,
        exclude_freq_ranges_ghz=wanted.exclude_freq_ranges_ghz,
        flag_edge_fraction=wanted.flag_edge_fraction,
        **{name: options[name] for name in ("method", "grid", "weights", "contsub", "cover_window") if name in options},
    )


def _window(project: Project, target: str, product: str) -> dict[str, float]:
    """Return the members of a recipe that follow from the velocity window of a target."""
    vsys, vwidth = project.exclusion_window_kms(target)
    window = {"exclude_vsys_kms": vsys, "exclude_vwidth_kms": vwidth}
    if product in project.line_products:
        own = project.targets[target]
        window |= {"vsys_kms": own.vsys_kms, "vwidth_kms": own.vwidth_kms}
    return window


def _inputs(project: Project, target: str, config: str) -> tuple[StagingInput, ...]:
    return tuple(
        StagingInput(
            leaf=f"incoming/{item.path}",
            field=item.field,
            array_tag=item.array_tag,
            timebin=project.timebins.get(item.array_tag, "0s"),
        )
        for item in project.measurements(target, config)
    )


def _excluded(known: lines.LineTable, product: LineProduct | ContProduct) -> tuple[ExcludedLine, ...]:
    """Return the lines that are not continuum; of a line product that names none, its own line."""
    tags = product.lines_to_flag
    if isinstance(product, LineProduct) and not tags:
        tags = (product.line_tag,)
    return tuple(
        ExcludedLine(restfreq_ghz=line.restfreq_ghz, padding_kms=line.padding_kms) for line in known.expand(tags)
    )
