"""The disc's products and its page, made once for all tests of the page."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from fringeflow_derived.page import CubeEntry, write_page


@pytest.fixture(scope="session")
def disc() -> ModuleType:
    place = Path(__file__).with_name("disc_products.py")
    spec = importlib.util.spec_from_file_location("disc_products", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def disc_products(disc: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page") / "products"
    disc.write(folder)
    return folder


@pytest.fixture(scope="session")
def line_entry(disc: ModuleType) -> CubeEntry:
    return CubeEntry(
        disc.TARGET,
        disc.TARGET,
        disc.CONFIG,
        disc.PRODUCT,
        (disc.TAG,),
        distance_mpc=disc.DISTANCE_MPC,
        facts={"Clean stopped": "flux change below 1 %"},
    )


@pytest.fixture(scope="session")
def continuum_entry(disc: ModuleType) -> CubeEntry:
    return CubeEntry(disc.TARGET, disc.TARGET, disc.CONFIG, "cont", kind="continuum")


@pytest.fixture(scope="session")
def disc_page(disc_products: Path, line_entry: CubeEntry, continuum_entry: CubeEntry) -> Path:
    out = disc_products.parent / "pages" / "index.html"
    return write_page(
        disc_products, out, [line_entry, continuum_entry], title="A <disc> & more", timings={"imaging": 12.5}
    )
