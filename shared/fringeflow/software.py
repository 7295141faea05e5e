"""Names and versions of the installed software that results depend on."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import cache
from importlib import metadata

_NAMED = ("casatools", "casatasks", "casadata", "astropy", "numpy", "scipy", "reproject")


@cache  # asked for in the fork server, where jobs then find it
def installed() -> dict[str, str]:
    """Return name and version of Python, of our own distributions and of the libraries that compute."""
    found = {"python": ".".join(str(part) for part in sys.version_info[:3])}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name in _NAMED or name.startswith("fringeflow"):
            found[name] = distribution.version
    return dict(sorted(found.items()))


def versions(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of some of what is `installed`."""
    known = installed()
    return {name: known[name] for name in names}
