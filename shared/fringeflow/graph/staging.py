"""The units of staging: one measurement set per target, config and product, and what each recipe must say.

Knows names and numbers of the project; no visibilities, no CASA, no paths of this machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from fringeflow import names
from fringeflow.graph.model import Graph, Unit, UnitId
from fringeflow.keys import lines
from fringeflow.keys.model import ContProduct, Frozen, LineProduct, Project
from fringeflow.keys.parameters import override_value

STAGE = "staging"
FACT = "visibilities.staged"
# Raise it when the science of the stage changes its results.
REVISION = 1
TARGET_INTENT = "OBSERVE_TARGET*"


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
    corrections_off: tuple[Literal["S2", "S5", "S6", "S12", "S15"], ...] = Field(
        default=(), description="corrections of the reference not to make (staging specification, section 15.1)"
    )


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


class ContinuumRecipe(_Common):
    """The parameters of a continuum product's visibilities."""

    kind: Literal["continuum"] = "continuum"
    freq_ranges_ghz: tuple[tuple[float, float], ...] | None = None
    channel_ghz: float | None = None
    reweigh: bool = Field(default=False, description="measure weights on the scatter over the line-free channels")


_RECIPE: TypeAdapter[LineRecipe | ContinuumRecipe] = TypeAdapter(
    Annotated[LineRecipe | ContinuumRecipe, Field(discriminator="kind")]
)


def read_recipe(recipe: Mapping[str, Any]) -> LineRecipe | ContinuumRecipe:
    """Return the recipe that a staging unit carries."""
    return _RECIPE.validate_python(recipe)


def unit_id(target: str, config: str, product: str) -> UnitId:
    """Return the id of the unit that makes these visibilities."""
    return UnitId(stage=STAGE, target=target, config=config, product=product)


def add_units(project: Project, target: str, graph: Graph) -> None:
    """Add the visibilities of every config that `target` has the arrays of, and every product."""
    known = lines.known_to(project)
    for config in project.configs_with_data(target):
        for product in project.products:
            recipe = _recipe(project, known, target, config, product)
            graph.add(
                Unit(
                    id=unit_id(target, config, product),
                    revision=REVISION,
                    recipe=recipe.model_dump(mode="json"),
                    leaves=tuple(item.leaf for item in recipe.inputs),
                    outputs=(names.visibilities(target, config, product),),
                    fact=FACT,
                )
            )


def _recipe(
    project: Project, known: lines.LineTable, target: str, config: str, product: str
) -> LineRecipe | ContinuumRecipe:
    vsys, vwidth = project.exclusion_window_kms(target)
    wanted = project.product(product)
    common: dict[str, Any] = {
        "inputs": _inputs(project, target, config),
        "array_groups": tuple(tuple(sorted(group)) for group in project.interf_configs[config].groups()),
        "exclude_vsys_kms": vsys,
        "exclude_vwidth_kms": vwidth,
        "exclude_lines": _excluded(known, wanted),
        "corrections_off": _corrections_off(project, target, config, product),
    }
    if isinstance(wanted, ContProduct):
        return ContinuumRecipe(**common, freq_ranges_ghz=wanted.freq_ranges_ghz, channel_ghz=wanted.channel_ghz)
    own = project.targets[target]
    return LineRecipe(
        **common,
        restfreq_ghz=wanted.restfreq_ghz,
        vsys_kms=own.vsys_kms,
        vwidth_kms=own.vwidth_kms,
        channel_kms=wanted.channel_kms,
        statwt_edge_kms=wanted.statwt_edge_kms,
        fitorder=wanted.fitorder,
        combinespw=wanted.combinespw,
        exclude_freq_ranges_ghz=wanted.exclude_freq_ranges_ghz,
        flag_edge_fraction=wanted.flag_edge_fraction,
    )


def _corrections_off(project: Project, target: str, config: str, product: str) -> tuple[str, ...]:
    written = project.override("staging_corrections_off", target, config, product)
    return () if written is None else tuple(override_value("staging_corrections_off", written))


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
