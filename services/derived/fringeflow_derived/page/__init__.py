"""The page to look at: products on disk become one self-contained HTML file of pictures and numbers.

It reads FITS files by name and knows nothing of units, events or the store.
"""

from __future__ import annotations

from fringeflow_derived.page.entries import CubeEntry
from fringeflow_derived.page.write import overview_figure, write_page

__all__ = ["CubeEntry", "overview_figure", "write_page"]
