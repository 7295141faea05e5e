"""The key files that name data: measurement sets, single-dish cubes, clean masks (keys specification, section 4)."""

from __future__ import annotations

from fringeflow.keys.master import Master
from fringeflow.keys.model import Measurement
from fringeflow.keys.problems import Findings
from fringeflow.keys.tables import Placed, is_name, put

Files = dict[tuple[str, str], Placed[str]]
"""(target, product) -> file."""


def read_measurements(master: Master, findings: Findings) -> dict[tuple[str, str, str, str], Placed[Measurement]]:
    """Return the measurement sets by (target, project, array tag, obsnum)."""
    found: dict[tuple[str, str, str, str], Placed[Measurement]] = {}
    paths: dict[tuple[str, str], Placed[str]] = {}
    for row in master.rows("ms_key", findings):
        target, project, field, array_tag, obsnum, path = row.cells
        named = [(project, "project"), (array_tag, "array tag"), (obsnum, "obsnum")]
        if not all(is_name(name, row.place, what, findings) for name, what in named):
            continue
        field = "all" if field.lower() == "all" else field
        item = Measurement(
            target=target, project=project, array_tag=array_tag, obsnum=obsnum, field=field, path=path.rstrip("/")
        )
        label = " ".join((target, project, array_tag, obsnum))
        put(found, (target, project, array_tag, obsnum), item, row.place, f"measurement set {label}", findings)
        twin = paths.setdefault((target, item.path), Placed(label, row.place))
        if twin.value != label:
            findings.warning(row.place, f"{path} is also {twin.value} ({twin.place})", "list each measurement set once")
        findings.came_from(f"targets.{target}.measurements.{project}.{array_tag}.{obsnum}", row.place)
    return found


def read_singledish(master: Master, findings: Findings) -> Files:
    """Return the single-dish files by (target, product)."""
    return _files(master, "singledish_key", "singledish", findings)


def read_cleanmasks(master: Master, findings: Findings) -> Files:
    """Return the clean masks by (target, product or 'all')."""
    return _files(master, "cleanmask_key", "cleanmask", findings)


def _files(master: Master, kind: str, name: str, findings: Findings) -> Files:
    found: Files = {}
    for row in master.rows(kind, findings):
        target, product, file = row.cells
        product = "all" if product.lower() == "all" else product
        put(found, (target, product), file.rstrip("/"), row.place, f"{name} of {target} {product}", findings)
        findings.came_from(f"targets.{target}.{name}.{product}", row.place)
    return found
