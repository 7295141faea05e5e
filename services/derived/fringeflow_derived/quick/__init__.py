"""Noise, masks and maps of one cube without a project: from a file to a folder of products and a page.

>>> from fringeflow_derived import quick
>>> made = quick.make_maps("ngc5921.fits", "maps", resolutions=["60arcsec", "5kpc"], distance_mpc=22.4)

Knows no units, recipes, keys or stores.
"""

from __future__ import annotations

from fringeflow_derived.quick.make import Maps, make_maps
from fringeflow_derived.quick.record import Product
from fringeflow_derived.quick.wanted import DEFAULT_MOMENTS, Resolution, Wanted, distance_mpc

__all__ = ["DEFAULT_MOMENTS", "Maps", "Product", "Resolution", "Wanted", "distance_mpc", "make_maps"]
