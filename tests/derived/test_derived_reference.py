"""The real galaxy: the reference's own inputs give the same products, but for the corrections made on purpose."""

from __future__ import annotations

import gzip
import shutil

import numpy as np
import pytest
from astropy.io import fits

from fringeflow_derived import convolved, maps, masks, products
from fringeflow_derived.cubes import FitsCube
from fringeflow_derived.maps import Request
from fringeflow_derived.noise import NoiseOptions
from fringeflow_derived.signalfree import measure

ROOT = "ngc5921_vla_hi21cm"


@pytest.fixture(scope="module")
def folder(reference, tmp_path_factory):
    """The reference's files, unpacked."""
    found = tmp_path_factory.mktemp("reference")
    products_of = reference / "reference/ngc5921/products"
    wanted = [f"postprocess/{ROOT}_pbcorr_trimmed_k"]
    wanted += [
        f"derived/{ROOT}{end}" for end in ("", "_75as", "_noise", "_strictmask", "_75as_strictmask", "_broadmask")
    ]
    wanted += [f"derived/{ROOT}_{end}" for end in ("90as_strictmask", "12kpc_strictmask", "75as_coverage2d")]
    wanted += [f"derived/{ROOT}_strict_{end}" for end in ("mom0", "mom1", "mom2", "ew", "vpeak", "emom0", "emom1")]
    wanted += [f"derived/{ROOT}_broad_tpeak"]
    for name in wanted:
        packed = products_of / f"{name}.fits.gz"
        if packed.is_file():
            with gzip.open(packed) as source, (found / packed.stem.split("/")[-1]).open("wb") as out:
                shutil.copyfileobj(source, out)
    return found


def data(folder, end=""):
    return fits.getdata(folder / f"{ROOT}{end}.fits")


def test_convolution(folder, tmp_path):
    names = [tmp_path / name for name in ("out.fits", "coverage.fits", "coverage2d.fits")]
    convolved.convolve(folder / f"{ROOT}_pbcorr_trimmed_k.fits", *names, fwhm_arcsec=75.0)
    ours, theirs = fits.getdata(names[0]), data(folder, "_75as")
    same = np.isfinite(ours) & np.isfinite(theirs)
    inside = same & (fits.getdata(names[1]) > 0.999)
    assert np.std((ours - theirs)[inside]) < 1e-3 * np.std(theirs[inside])
    assert np.array_equal(same, np.isfinite(theirs))
    assert fits.getdata(names[2]) == pytest.approx(data(folder, "_75as_coverage2d"), abs=0.01)


def test_noise_off_the_source(folder):
    off = data(folder, "_strictmask") == 0
    with FitsCube(folder / f"{ROOT}.fits") as cube:
        careless = measure(cube, cube.pixels_per_beam, NoiseOptions(iterations=3, signal_rounds=0)).model
        masked = measure(cube, cube.pixels_per_beam, NoiseOptions(iterations=3)).model
    for model in (careless, masked):
        ratio = model.rows(0, off.shape[1]) / data(folder, "_noise")
        assert np.nanmedian(ratio[off]) == pytest.approx(1, abs=0.005)
        assert np.nanpercentile(np.abs(ratio[off] - 1), 80) < 0.05
    on = masked.rows(0, off.shape[1])[~off] / data(folder, "_noise")[~off]
    assert 0.75 < np.nanmedian(on) < 0.92  # the galaxy raises the reference's noise by a fifth


def test_strict_mask_with_the_same_noise_is_the_same(folder):
    mask = masks.strict_mask(data(folder), data(folder, "_noise"))
    assert np.array_equal(mask, data(folder, "_strictmask") > 0)


def test_broad_mask_of_the_same_masks(folder, tmp_path):
    paths = [folder / f"{ROOT}{tag}_strictmask.fits" for tag in ("", "_75as", "_12kpc")]
    products.broad_mask(paths[0], paths, tmp_path / "broad.fits")
    ours, theirs = fits.getdata(tmp_path / "broad.fits"), data(folder, "_broadmask")
    assert (ours <= theirs).all()  # the strict mask at 90 arcsec is not among the reference's files
    assert ours.sum() > 0.9 * theirs.sum()


def test_maps_of_the_same_noise_and_mask_are_the_same(folder, tmp_path):
    requests = [
        Request(name, "strict", tmp_path / f"{name}.fits", tmp_path / f"e{name}.fits", {"min_snr": None} if snr else {})
        for name, snr in (("mom0", False), ("mom1", True), ("mom2", True), ("ew", False), ("vpeak", False))
    ]
    requests.append(Request("tpeak", "broad", tmp_path / "tpeak.fits"))
    masks_of = {name: folder / f"{ROOT}_{name}mask.fits" for name in ("strict", "broad")}
    maps.write(folder / f"{ROOT}.fits", folder / f"{ROOT}_noise.fits", masks_of, requests)
    for name in ("mom0", "mom1", "mom2", "ew", "vpeak", "emom1", "emom0"):
        ours, theirs = fits.getdata(tmp_path / f"{name}.fits"), data(folder, f"_strict_{name}")
        both = np.isfinite(ours) & np.isfinite(theirs)
        assert both.sum() > 0.98 * np.isfinite(theirs).sum()
        assert ours[both] == pytest.approx(theirs[both], rel=1e-4, abs=1e-3)
    ours, theirs = fits.getdata(tmp_path / "tpeak.fits"), data(folder, "_broad_tpeak")
    assert (ours >= theirs)[np.isfinite(theirs)].all()  # one channel more
    assert np.nanmean(ours == theirs) > 0.7
