"""The demonstration data: our calibration and staging against those of the reference."""

from __future__ import annotations

import gzip
import tarfile

import numpy as np
import pytest
from astropy.io import fits

from fringeflow_staging.lines import stage_line
from fringeflow_staging.ngc5921 import calibrate, find_uvfits
from fringeflow_staging.settings import LineSettings, Source
from fringeflow_staging.tables import open_table
from fringeflow_staging.windows import C_KMS, line_range_ghz

HI_GHZ = 1.420405751


def quiet(step, fraction):
    pass


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory, casa_ready):
    folder = tmp_path_factory.mktemp("ngc5921")
    calibrate(find_uvfits(), folder / "ngc5921.ms", folder / "scratch", quiet)
    assert list((folder / "scratch").iterdir()) == []
    return folder / "ngc5921.ms"


def test_the_calibration_is_the_reference_s(calibrated, reference, tmp_path):
    with tarfile.open(reference / "reference/ngc5921/inputs/ngc5921.ms.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    with open_table(calibrated) as ours, open_table(tmp_path / "ngc5921.ms") as theirs:
        assert np.array_equal(ours.getcol("FLAG"), theirs.getcol("FLAG"))
        for name in ("DATA", "WEIGHT", "SIGMA", "UVW", "TIME"):
            mine, other = ours.getcol(name), theirs.getcol(name)
            assert np.abs(mine - other).max() < 1e-5 * np.abs(other).max()


def test_the_staged_channels_are_the_reference_s(calibrated, reference, tmp_path):
    settings = LineSettings(
        restfreq_ghz=HI_GHZ,
        vsys_kms=1485.0,
        vwidth_kms=240.0,
        channel_kms=10.5,
        excluded_ghz=(line_range_ghz(HI_GHZ, 1485.0, 240.0),),
        statwt_edge_kms=30.0,
    )
    report = stage_line([Source(calibrated)], settings, tmp_path / "out.ms", tmp_path / "scratch", quiet)
    assert "tells no intents" in report["inputs"][0]["notes"][0]
    with gzip.open(reference / "reference/ngc5921/products/imaging/ngc5921_vla_hi21cm.fits.gz") as file:
        header = fits.getheader(file)
    theirs = header["CRVAL3"] + header["CDELT3"] * (np.arange(header["NAXIS3"]) + 1 - header["CRPIX3"])
    with open_table(tmp_path / "out.ms" / "SPECTRAL_WINDOW") as windows:
        assert windows.nrows() == 1
        ours = C_KMS * (1 - windows.getcell("CHAN_FREQ", 0) / 1e9 / HI_GHZ)
    assert ours == pytest.approx(theirs / 1e3, abs=0.01)
