"""The key files of tools: line frequencies, CASA versions, archive restrictions (keys specification, 4.14, 4.15, 7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fringeflow.keys.lines import Line, LineTable, builtin
from fringeflow.keys.master import Master
from fringeflow.keys.problems import Findings
from fringeflow.keys.syntax import Row
from fringeflow.keys.tables import Placed, checked, number_in, put
from fringeflow.keys.values import between, either, list_of, mapping_of, number, plain, positive, text

Restrictions = Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]]
"""target -> product -> config -> archive column -> allowed value or values."""

_ALLOWED = mapping_of(either(text, number, list_of(either(text, number))))


def read_lines(master: Master, findings: Findings) -> LineTable:
    """Return the built-in lines with those of the project's own line keys."""
    found: dict[str, Placed[Line]] = {}
    for row in master.rows("line_key", findings):
        line = _line(row, findings)
        if line:
            put(found, line.tag, line, row.place, f"line {line.tag}", findings)
            findings.came_from(f"lines.{line.tag}", row.place)
    return builtin().extended(item.value for item in found.values())


def read_casa_versions(master: Master, findings: Findings) -> dict[str, str]:
    """Return the paths of CASA versions."""
    found: dict[str, Placed[str]] = {}
    for row in master.rows("casaversion_key", findings):
        put(found, row.cells[0], row.cells[1], row.place, f"CASA version {row.cells[0]}", findings)
    return {version: item.value for version, item in found.items()}


def read_restrictions(master: Master, findings: Findings) -> Restrictions:
    """Return what may be downloaded; a repeated archive column counts as written last."""
    found: dict[str, dict[str, dict[str, dict[str, Placed[Any]]]]] = {}
    for row in master.rows("alma_download_key", findings):
        target, product, config, written = row.cells
        what = f"restriction of {target} {product} {config}"
        columns = checked(written, _ALLOWED, row.place, what, findings)
        table = found.setdefault(target, {}).setdefault(product, {}).setdefault(config, {})
        for column, allowed in (columns or {}).items():
            put(table, column, allowed, row.place, f"{column} in the {what}", findings)
    return {
        target: {
            product: {
                config: {column: plain(item.value) for column, item in columns.items()}
                for config, columns in configs.items()
            }
            for product, configs in products.items()
        }
        for target, products in found.items()
    }


def _line(row: Row, findings: Findings) -> Line | None:
    tag, written, family = row.cells[:3]
    frequency = number_in(written, positive, row.place, f"rest frequency of {tag} in GHz", findings)
    padding = 0.0
    if len(row.cells) > 3:
        wide = number_in(row.cells[3], between(0, 1e5), row.place, f"padding of {tag} in km/s", findings)
        if wide is None:
            return None
        padding = wide
    return None if frequency is None else Line(tag, frequency, family.lower(), padding)
