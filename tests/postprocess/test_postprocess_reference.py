"""The reference's own image of NGC 5921 through our path, against its own post-processed cube.

The reference hands on no untrimmed primary beam; its trimmed one, put back where it was cut out, stands for it.
"""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from fringeflow.fitsplanes import Planes
from fringeflow_postprocess import planning, single_field
from fringeflow_postprocess.planning import Settings

TRIM = slice(7, 250)  # where the reference's crop lies in its image


@pytest.fixture(scope="module")
def products(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, np.ndarray]:
    """The image, its primary beam on the same grid, and the reference's cube in kelvin."""
    source = reference / "reference/ngc5921/products"
    folder = tmp_path_factory.mktemp("ngc5921")
    image, response = folder / "image.fits", folder / "pb.fits"
    with gzip.open(source / "imaging/ngc5921_vla_hi21cm.fits.gz") as packed, image.open("wb") as plain:
        shutil.copyfileobj(packed, plain)
    header = fits.getheader(image)
    full = np.full((header["NAXIS3"], header["NAXIS2"], header["NAXIS1"]), np.nan, np.float32)
    full[:, TRIM, TRIM] = fits.getdata(source / "postprocess/ngc5921_vla_hi21cm_trimmed_pb.fits.gz")
    header.remove("HISTORY", ignore_missing=True, remove_all=True)
    fits.writeto(response, full, header)
    return image, response, fits.getdata(source / "postprocess/ngc5921_vla_hi21cm_pbcorr_trimmed_k.fits.gz")


def ours(products: tuple[Path, Path, np.ndarray], settings: Settings) -> tuple[planning.Plan, np.ndarray]:
    with Planes(products[0]) as image, Planes(products[1]) as response:
        plan = planning.settle(image, response, settings)
        return plan, np.stack(list(single_field.kelvin_planes(image, response, plan)))


def test_with_the_rules_of_the_reference(products: tuple[Path, Path, np.ndarray]) -> None:
    """The same to 1e-4: what is left is its older Boltzmann constant and its mean frequency, one channel off (W-21)."""
    plan, cube = ours(products, Settings(0.2, "reference", kelvin="constant", rind_pixels=0))
    theirs = products[2]
    assert plan.round_arcsec == pytest.approx(0.01621579094241 * 3600, rel=1e-9)
    np.testing.assert_array_equal(np.isfinite(cube), np.isfinite(theirs))
    valid = np.isfinite(theirs)
    difference = cube[valid].astype(float) - theirs[valid]
    assert abs(difference).max() < 1e-3 * abs(theirs[valid]).max()
    assert np.sqrt((difference**2).mean()) < 5e-4 * theirs[valid].std()
    assert plan.kelvin_per_jansky == pytest.approx(179.5049667954, rel=1e-4)


def test_with_our_rules(products: tuple[Path, Path, np.ndarray]) -> None:
    """The smaller beam, and one pixel less at the border."""
    theirs = products[2]
    plan, cube = ours(products, Settings(0.2))
    assert plan.round_arcsec == pytest.approx(0.01502019297065 * 3600)
    assert cube.shape == theirs.shape
    both = np.isfinite(cube) & np.isfinite(theirs)
    assert both.sum() == np.isfinite(cube).sum()
    assert 0.98 < both.sum() / np.isfinite(theirs).sum() < 0.99
    assert np.corrcoef(cube[both], theirs[both])[0, 1] > 0.99
