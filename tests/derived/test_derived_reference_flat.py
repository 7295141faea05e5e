"""The real galaxy: velocity fields, flat masks and shuffled cubes of the reference's own files.

What differs follows from one correction: the reference interpolates even between equal grids and so loses the pixels
beside blank ones.
"""

from __future__ import annotations

import gzip
import shutil

import numpy as np
import pytest
from astropy.io import fits

from fringeflow_derived import flat, prior, shuffled, vfield
from fringeflow_derived.vfield import Layer

ROOT = "ngc5921_vla_hi21cm"
TAGS = ("", "_75as", "_90as", "_12kpc")
ARGUMENTS = ("strict_mom1", "strict_emom1", "broad_mom1", "broad_emom1", "broad_mom0", "broad_emom0")


@pytest.fixture(scope="module")
def folder(reference, tmp_path_factory):
    """The reference's files, unpacked."""
    found = tmp_path_factory.mktemp("reference")
    ends = [f"{tag}_{name}" for tag in TAGS for name in (*ARGUMENTS, "mom1wprior", "emom1wprior")]
    for end in (*ends, "", "_shuffled", "_12kpc_strictmask", "_strictmask", "_flatstrictmask"):
        with (
            gzip.open(reference / f"reference/ngc5921/products/derived/{ROOT}{end}.fits.gz") as packed,
            (found / f"{ROOT}{end}.fits").open("wb") as out,
        ):
            shutil.copyfileobj(packed, out)
    layers = [Layer(found / f"{ROOT}{tag}_mom1wprior.fits") for tag in TAGS]
    vfield.write(layers, found / "field.fits", found / "source.fits")
    return found


def data(folder, end):
    return fits.getdata(folder / f"{ROOT}{end}.fits")


@pytest.mark.parametrize("tag", TAGS)
def test_hybrid_velocity_fields(folder, tmp_path, tag):
    files = {name: folder / f"{ROOT}{tag}_{name}.fits" for name in ARGUMENTS}
    files["vfield_prior"] = folder / f"{ROOT}_90as_strict_mom1.fits"
    out = tmp_path / "field.fits", tmp_path / "error.fits"
    prior.write(files, *out, options={"vfield_reject_thresh_kms": 40.0, "mom0_thresh": 2.0})
    for path, end in zip(out, ("_mom1wprior", "_emom1wprior"), strict=True):
        ours, theirs = fits.getdata(path), data(folder, f"{tag}{end}")
        both = np.isfinite(theirs)
        assert np.array_equal(ours[both], theirs[both])
        assert both.sum() <= np.isfinite(ours).sum() < 1.06 * both.sum()


def test_every_flat_strict_mask_of_the_reference_is_that_of_the_last_resolution(folder, tmp_path):
    """W1: the file without a tag has the strict mask of 12 kpc; W1b: and 50 km/s, whatever the window key says."""
    theirs = data(folder, "_flatstrictmask") > 0
    shares = {}
    for tag, window in (("_12kpc", 50.0), ("_12kpc", 60.0), ("", 60.0)):
        flat.flat_mask(
            folder / f"{ROOT}.fits",
            folder / "field.fits",
            tmp_path / "flat.fits",
            window_kms=window,
            mask=folder / f"{ROOT}{tag}_strictmask.fits",
        )
        ours = fits.getdata(tmp_path / "flat.fits") > 0
        shares[tag, window] = (ours & theirs).sum() / (ours | theirs).sum()
        if window == 50.0:
            assert (theirs & ~ours).sum() < 0.005 * theirs.sum()
    assert shares["_12kpc", 50.0] > 0.95
    assert shares["", 60.0] < 0.7


def test_shuffled_cube(folder, tmp_path):
    shuffled.write(folder / f"{ROOT}.fits", folder / "field.fits", tmp_path / "out.fits", tmp_path)
    ours, theirs = fits.getdata(tmp_path / "out.fits"), data(folder, "_shuffled")
    both = np.isfinite(ours) & np.isfinite(theirs)
    assert both.sum() > 0.999 * np.isfinite(theirs).sum()
    assert np.percentile(np.abs(ours - theirs)[both], 95) < 1e-4 * np.nanstd(theirs)
    assert np.isfinite(ours).any(axis=0).sum() > 1.2 * np.isfinite(theirs).any(axis=0).sum()
    assert fits.getheader(tmp_path / "out.fits")["BUNIT"] == "K"
