"""A disc too large for the interferometer, with a single dish: feathered or cleaned together, from keys to products."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from scipy.ndimage import gaussian_filter

from tests.dishes import BEAM_ARCSEC, write_dish
from tests.e2e.galaxy import KEYS, run
from tests.simulation import FWHM, Observation, Truth, Window, simulate_disc

pytestmark = pytest.mark.xdist_group("e2e")

CHANGES = {
    "master_key.txt": ("ms_key         ms_key.txt\n", "singledish_root  ../data\nsingledish_key   tp_key.txt\n"),
    "config_key.txt": (
        "'clean_scales_arcsec': [0, 2.5, 5.0]}\n",
        "feather_config  12m+tp  {'interf_config': '12m'}\n",
    ),
}


def write_keys(folder: Path, method: str) -> Path:
    """Write the keys of a small project with a single dish; return the master key."""
    folder.mkdir()
    for name, text in KEYS.items():
        after, more = CHANGES.get(name, ("", ""))
        assert after in text
        (folder / name).write_text(text.replace(after, after + more) if more else text)
    (folder / "tp_key.txt").write_text("disc   co21   tp.fits\n")
    sizes = {"cell": "1.2", "deltara": "86.4", "deltadec": "86.4", "clean_scales_arcsec": "[0,4.0,9.0]"}
    rows = [f"disc   {name}   {value}" for name, value in (sizes | {"joint_deconvolution": method}).items()]
    (folder / "override_key.txt").write_text("\n".join(rows) + "\n")
    return folder / "master_key.txt"


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory, casa_ready: None) -> Truth:
    root = tmp_path_factory.mktemp("joint")
    (root / "data").mkdir()
    truth = simulate_disc(
        root / "data" / "disc.ms",
        windows=(Window(n_channels=12, channel_kms=5.0),),
        observation=Observation(n_times=5, longest_m=90.0, dish_m=7.0),
        size_arcsec=12.0,
        gradient_kms_arcsec=0.5,
        line_flux_jykms=300.0,
        sigma_jy=0.1,
    )
    write_dish(root / "data" / "tp.fits", truth)
    return truth


def flux_at_the_dishs_beam(path: Path) -> float:
    """Jy km/s of a cube in kelvin, smoothed to the dish's beam, in a circle of a beam about its middle."""
    data, header = fits.getdata(path), fits.getheader(path)
    cell, beam = abs(header["CDELT2"]) * 3600, header["BMAJ"] * 3600
    step = abs(header["CDELT3"]) / 1e3
    image = np.nansum(data, axis=0) * step / header["JYTOK"] / (np.pi * beam**2 / (4 * np.log(2)) / cell**2)
    smooth = gaussian_filter(np.nan_to_num(image), np.sqrt(BEAM_ARCSEC**2 - beam**2) / FWHM / cell, mode="constant")
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    middle = header["CRPIX2"] - 1, header["CRPIX1"] - 1
    return float(smooth[np.hypot(y - middle[0], x - middle[1]) * cell < BEAM_ARCSEC / 2].sum())


def wanted_flux(truth: Truth) -> float:
    """What a disc of this size has there: both are Gaussians."""
    total = truth.line_flux_jykms
    size2 = BEAM_ARCSEC**2 + truth.size_arcsec**2
    return float(total * (1 - np.exp(-4 * np.log(2) * (BEAM_ARCSEC / 2) ** 2 / size2)))


@pytest.fixture(scope="module")
def runs(sky: Truth, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Feathered and cleaned together."""
    made = {}
    for method in ("none", "residuals"):
        work = tmp_path_factory.mktemp(method) / "work"
        key = write_keys(sky.path.parent.parent / f"keys_{method}", method)
        made[method] = work, run(key, work, "--jobs", 2, "--until", "postprocess")
    return made


def test_both_have_the_flux_that_the_interferometer_misses(
    runs: dict[str, tuple[Path, dict[str, Any]]], sky: Truth
) -> None:
    found = {}
    for method, (work, summary) in runs.items():
        assert summary["complete"], summary
        tree = work / "products" / "postprocess" / "disc"
        found[method] = flux_at_the_dishs_beam(tree / "disc_12m+tp_co21_pbcorr_trimmed_k.fits")
        alone = flux_at_the_dishs_beam(tree / "disc_12m_co21_pbcorr_trimmed_k.fits")
        assert alone < 0.9 * wanted_flux(sky)
        assert found[method] == pytest.approx(wanted_flux(sky), rel=0.08)
    off = {method: abs(flux - wanted_flux(sky)) for method, flux in found.items()}
    assert off["residuals"] < off["none"] + 0.01 * wanted_flux(sky)


def test_the_joint_image_is_delivered_beside_the_interferometers(
    runs: dict[str, tuple[Path, dict[str, Any]]],
) -> None:
    names = {
        method: {path.name for path in (work / "products" / "imaging" / "disc").iterdir()}
        for method, (work, _) in runs.items()
    }
    joint = names["residuals"] - names["none"]
    assert {"disc_12m+tp_co21.fits", "disc_12m+tp_co21_model.fits", "disc_12m+tp_co21_mask.fits"} <= joint
    same = "disc_12m_co21_pbcorr_trimmed_k.fits"
    one, other = ((work / "products" / "postprocess" / "disc" / same).read_bytes() for work, _ in runs.values())
    assert one == other
