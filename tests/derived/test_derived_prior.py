"""Hybrid velocity fields (derived specification, section 10)."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from fringeflow_derived import prior
from tests.derived.derived_support import header, write

NAN = np.nan
STRICT = np.array([[100.0, NAN, NAN, NAN, NAN]])
BROAD = np.array([[90.0, 110.0, 111.0, 160.0, NAN]])
MOM0 = np.array([[5.0, 5.0, 1.0, 5.0, 5.0]])
ERRORS = {"strict_emom1": np.array([[1.0, NAN, NAN, NAN, NAN]]), "broad_emom1": np.full((1, 5), 3.0)}


def test_candidates_pass_both_tests():
    field, error = prior.hybrid(
        STRICT, BROAD, MOM0, **ERRORS, broad_emom0=np.ones((1, 5)), vfield_prior=np.full((1, 5), 105.0)
    )
    assert field.tolist()[0] == pytest.approx([100, 110, NAN, NAN, NAN], nan_ok=True)
    assert error.tolist()[0] == pytest.approx([1, 3, NAN, NAN, NAN], nan_ok=True)


def test_without_prior_only_the_brightness_counts():
    field, _ = prior.hybrid(STRICT, BROAD, MOM0, broad_emom0=np.ones((1, 5)))
    assert field.tolist()[0] == pytest.approx([100, 110, NAN, 160, NAN], nan_ok=True)


def test_a_blank_prior_rejects():
    field, _ = prior.hybrid(STRICT, BROAD, MOM0, vfield_prior=np.full((1, 5), NAN), broad_emom0=np.ones((1, 5)))
    assert field.tolist()[0] == pytest.approx([100, NAN, NAN, NAN, NAN], nan_ok=True)


def test_without_an_error_the_threshold_is_absolute():
    field, error = prior.hybrid(STRICT, BROAD, MOM0, mom0_thresh=0.5)
    assert np.isfinite(field).tolist() == [[True, True, True, True, False]]
    assert error is None


def test_thresholds():
    kw = {"broad_emom0": np.ones((1, 5)), "vfield_prior": np.full((1, 5), 105.0)}
    field, _ = prior.hybrid(STRICT, BROAD, MOM0, **kw, vfield_reject_thresh_kms=60, mom0_thresh=0.5)
    assert np.isfinite(field).tolist() == [[True, True, True, True, False]]
    field, _ = prior.hybrid(STRICT, BROAD, MOM0, **kw, vfield_reject_thresh_kms=5)
    assert np.isfinite(field).tolist() == [[True, False, False, False, False]]


@pytest.fixture
def files(tmp_path):
    cards = header(axis="", unit="km s-1")
    cards["CHANWDTH"] = (2500.0, "Median channel width in m/s")
    cards["DATAMAX"] = 1e9
    shapes = {"strict_mom1": STRICT, "broad_mom1": BROAD, **ERRORS}
    found = {}
    for name, values in shapes.items():
        found[name] = write(tmp_path / f"{name}.fits", np.repeat(values, 4, axis=0), cards)
    found["broad_mom0"] = write(tmp_path / "m.fits", np.repeat(MOM0, 4, axis=0), header(axis="", unit="K km s-1"))
    found["broad_emom0"] = write(tmp_path / "e.fits", np.ones((4, 5)), header(axis="", unit="K km s-1"))
    # a prior of half the resolution and in m/s
    coarse = header(axis="", unit="m s-1", cell_arcsec=2.0)
    found["vfield_prior"] = write(tmp_path / "p.fits", np.full((40, 40), 105e3), coarse)
    return found


def test_files(files, tmp_path):
    """The prior is brought to the grid; DATAMIN and DATAMAX are the map's own."""
    out = tmp_path / "out.fits", tmp_path / "error.fits"
    facts = prior.write(files, *out, options={"vfield_reject_thresh_kms": 20.0})
    field = fits.getdata(out[0])
    assert np.isfinite(field).all(axis=0).tolist() == [True, True, False, False, False]
    cards = fits.getheader(out[0])
    assert (cards["BUNIT"], cards["BTYPE"], cards["CHANWDTH"]) == ("km s-1", "Moment1", 2500.0)
    assert (cards["DATAMIN"], cards["DATAMAX"]) == (100.0, 110.0)
    assert fits.getheader(out[1])["BTYPE"] == "Moment1 Error"
    assert fits.getdata(out[1])[0, :2].tolist() == [1, 3]
    assert facts == {"pixels": 8, "taken_over": 4, "median": 105.0}


def test_no_errors_of_velocities_give_a_blank_map_of_errors(files, tmp_path):
    del files["broad_emom1"]
    prior.write(files, tmp_path / "out.fits", tmp_path / "error.fits")
    assert np.isnan(fits.getdata(tmp_path / "error.fits")).all()
