"""Maps of one cube as a tool of the command line: words in, plain values out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fringeflow_derived.kinds import width_kms
from fringeflow_derived.quick import wanted
from fringeflow_derived.quick.make import Progress, make_maps


def make(
    cube: Path,
    out: Path,
    *,
    name: str | None,
    resolutions: Sequence[str],
    distance: str | None,
    moments: Sequence[str] | None,
    mask: Path | None,
    window: str | None,
    jobs: int,
    force: bool,
    page: bool,
    progress: Progress,
) -> dict[str, Any]:
    """Make maps as `make_maps` does, of options as people write them; return ``name``, ``page`` and ``products``."""
    made = make_maps(
        cube,
        out,
        name=name,
        resolutions=resolutions,
        moments=wanted.DEFAULT_MOMENTS if moments is None else moments,
        distance_mpc=None if distance is None else wanted.distance_mpc(distance),
        mask=mask,
        window_kms=None if window is None else width_kms(window),
        jobs=jobs,
        force=force,
        page=page,
        progress=progress,
    )
    rows = [asdict(product) | {"new": product.name in made.new} for product in made.products]
    return {"name": made.name, "folder": str(made.folder), "page": made.page and str(made.page), "products": rows}
