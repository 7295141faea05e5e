"""Cubes that break other programs: each is either measured right or refused with the name of the card at fault."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from fringeflow.errors import DataError, NothingSelectedError
from fringeflow_derived import quick
from fringeflow_derived.beams import Beam, kelvin_per_jansky

_SPEC = importlib.util.spec_from_file_location("hard_support", Path(__file__).with_name("derived_support.py"))
support = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(support)

LIGHT_KMS = 299792.458
REST_HZ = 1420405751.786
SHAPE = (20, 40, 44)
BEAM = 5.0
SIGMA_K = 0.05
V_KMS = 1000 + 4.0 * np.arange(SHAPE[0])
MOMENTS = ("mom0", "strict_mom1", "strict_mom2", "broad_tpeak", "strict_vpeak")


def truth(v_kms=V_KMS, shape=SHAPE):
    """A rotating disc without noise, in K."""
    return support.galaxy((len(v_kms), *shape[1:]), v_kms, peak=3.0, sigma_kms=9.0, gradient=0.8, radius=6.0)


def measured(v_kms=V_KMS, shape=SHAPE, seed=5):
    """The disc with noise that the beam correlates, in K."""
    noise = support.beam_noise(np.random.default_rng(seed), (len(v_kms), *shape[1:]), BEAM)
    return truth(v_kms, shape) + SIGMA_K * noise


def cards(**changes):
    """The header of the plainest cube, changed."""
    header = support.header(
        beam=(BEAM, BEAM, 0.0), v0_kms=V_KMS[0], dv_kms=4.0, restfreq=REST_HZ, crpix=(SHAPE[2] // 2 + 1.0, 21.0)
    )
    header.remove("JYTOK")
    for card, value in changes.items():
        if value is None:
            header.remove(card)
        else:
            header[card] = value
    return header


def make(tmp_path, data, header, **options):
    """Write a cube as it is and make its maps; returns a function that reads one."""
    path = tmp_path / "hard.fits"
    if not path.exists():
        fits.writeto(path, data, header)
    made = quick.make_maps(path, tmp_path / "maps", **{"moments": MOMENTS, "page": False} | options)
    return lambda ext, tag="": fits.getdata(made.path(ext, tag)).astype(np.float64)


def check_disc(read, *, tag=""):
    """Compare maps with the disc: flux, velocity of the centre and its gradient, peak."""
    flux, error = read("broad_mom0", tag), read("broad_emom0", tag)
    expected = 4.0 * truth().sum(axis=0)
    inside = expected > 0.3 * expected.max()
    assert np.all(np.isfinite(flux[inside]) & (error[inside] > 0))
    assert flux[inside].sum() == pytest.approx(expected[inside].sum(), rel=0.03 if not tag else 0.15)
    velocity = read("strict_mom1", tag)
    assert velocity[20, 22] == pytest.approx(V_KMS.mean(), abs=1.5)
    if not tag:
        assert velocity[20, 28] - velocity[20, 16] == pytest.approx(0.8 * 12, abs=2.0)
        assert read("broad_tpeak")[20, 22] == pytest.approx(3.0, abs=0.2)
        # The disc leaves few beams of the small field free, so the noise is not known better than this.
        assert np.nanmedian(read("noise")) == pytest.approx(SIGMA_K, rel=0.25)


def as_float32(data):
    return data.astype(np.float32)


def reordered(header, data):
    """A Stokes axis before the spectral one, as CASA writes it."""
    for card in ("CTYPE", "CRVAL", "CDELT", "CRPIX", "CUNIT"):
        header[f"{card}4"] = header[f"{card}3"]
        header.remove(f"{card}3")
    header.update({"CTYPE3": "STOKES", "CRVAL3": 1.0, "CDELT3": 1.0, "CRPIX3": 1.0})
    return header, data[:, np.newaxis]


def stokes_last(header, data):
    header.update({"CTYPE4": "STOKES", "CRVAL4": 1.0, "CDELT4": 1.0, "CRPIX4": 1.0})
    return header, data[np.newaxis]


def descending(header, data):
    header.update({"CRVAL3": V_KMS[-1] * 1e3, "CDELT3": -4e3})
    return header, data[::-1]


def kilometres(header, data):
    header.update({"CRVAL3": V_KMS[0], "CDELT3": 4.0, "CUNIT3": "km/s"})
    return header, data


def frequency(header, data):
    header.update({"CTYPE3": "FREQ", "CUNIT3": "Hz"})
    header.update({"CRVAL3": REST_HZ * (1 - V_KMS[0] / LIGHT_KMS), "CDELT3": -REST_HZ * 4.0 / LIGHT_KMS})
    return header, data


def frequency_up(header, data):
    header, data = frequency(header, data)
    header.update({"CRVAL3": REST_HZ * (1 - V_KMS[-1] / LIGHT_KMS) / 1e9, "CDELT3": REST_HZ * 4.0 / LIGHT_KMS / 1e9})
    header["CUNIT3"] = "GHz"
    return header, data[::-1]


def no_unit(header, data):
    header.remove("CUNIT3")
    return header, data


def matrix(header, data):
    """A CD matrix in place of CDELT."""
    for axis in (1, 2, 3):
        header[f"CD{axis}_{axis}"] = header[f"CDELT{axis}"]
        header.remove(f"CDELT{axis}")
    return header, data


def jansky(header, data):
    header["BUNIT"] = "Jy/beam"
    return header, data / kelvin_per_jansky(REST_HZ / 1e9, Beam(BEAM, BEAM))


def millijansky(header, data):
    header, data = jansky(header, data)
    header["BUNIT"] = "mJy beam-1"
    return header, data * 1e3


def old_card(header, data):
    """The rest frequency under the name it had before the standard."""
    header, data = jansky(header, data)
    header["RESTFREQ"] = header["RESTFRQ"]
    header.remove("RESTFRQ")
    return header, data


def through_zero(header, data):
    header["CRVAL1"] = 0.001
    return header, data


def polar(header, data):
    header["CRVAL2"] = 89.9995
    return header, data


def bordered(header, data):
    data = data.copy()
    data[:, [0, -1]] = np.nan
    data[:, :, [0, -1]] = np.nan
    return header, data


def blank_planes(header, data):
    data = data.copy()
    data[[0, 1, -1]] = np.nan
    return header, data


def infinite(header, data):
    data = data.copy()
    data[:, 0, 0] = np.inf
    return header, data


PLAIN = [
    *(descending, kilometres, frequency, frequency_up, no_unit, matrix, jansky, millijansky, old_card),
    *(reordered, stokes_last, through_zero, polar, bordered, blank_planes, infinite),
]


@pytest.mark.parametrize("change", PLAIN, ids=lambda change: change.__name__)
def test_the_disc_is_measured_whatever_the_cube_looks_like(tmp_path, change):
    header, data = change(cards(), measured())
    check_disc(make(tmp_path, as_float32(data), header))


@pytest.mark.parametrize("change", [frequency_up, matrix, jansky, through_zero, polar], ids=lambda one: one.__name__)
def test_it_is_measured_after_convolution_too(tmp_path, change):
    header, data = change(cards(), measured())
    check_disc(make(tmp_path, as_float32(data), header, resolutions=["7arcsec"]), tag="7as")


def test_double_precision(tmp_path):
    check_disc(make(tmp_path, measured(), cards()))


def test_scaled_integers_with_blanks(tmp_path):
    data = measured()
    stored = np.round((data - 1.0) / 2e-4).astype(np.int16)
    stored[:, :2] = -32768
    hdu = fits.PrimaryHDU(stored, cards())
    hdu.header.update({"BSCALE": 2e-4, "BZERO": 1.0, "BLANK": -32768})
    hdu.writeto(tmp_path / "hard.fits")
    read = make(tmp_path, None, None)
    check_disc(read)
    assert np.isnan(read("")[:, :2]).all()
    np.testing.assert_allclose(read("")[:, 2:], data[:, 2:], atol=1.1e-4)


def test_blank_stays_blank(tmp_path):
    header, data = bordered(cards(), measured())
    read = make(tmp_path, as_float32(data), header)
    for ext in ("broad_mom0", "broad_emom0", "broad_tpeak"):
        border = np.isnan(read(ext))
        assert border[0].all()
        assert border[:, -1].all()
        assert not border[1:-1, 1:-1].any(), ext


def test_optical_velocities_stay_optical(tmp_path):
    """VOPT in equal steps: the maps are in the axis's own velocity, and the error does not depend on its name."""
    header, data = cards(CTYPE3="VOPT"), measured()
    check_disc(make(tmp_path, as_float32(data), header))


def test_an_optical_axis_in_steps_of_frequency(tmp_path):
    """FELO and VOPT-F2W: velocities follow from the frequencies, not from the step."""
    fast = 30000.0
    frequency_hz = REST_HZ / (1 + fast / LIGHT_KMS) - 20e3 * (np.arange(SHAPE[0]) - 10)
    v_kms = LIGHT_KMS * (REST_HZ / frequency_hz - 1)
    step = 20e3 * LIGHT_KMS * REST_HZ / frequency_hz[10] ** 2
    data = support.galaxy(SHAPE, v_kms, peak=3.0, sigma_kms=12.0, gradient=0.8, radius=6.0)
    data += SIGMA_K * support.beam_noise(np.random.default_rng(5), SHAPE, BEAM)
    for kind in ("FELO-HEL", "VOPT-F2W"):
        folder = tmp_path / kind
        folder.mkdir()
        header = cards(CTYPE3=kind, CRVAL3=fast * 1e3, CRPIX3=11.0, CDELT3=step * 1e3)
        read = make(folder, as_float32(data), header)
        assert read("strict_mom1")[20, 22] == pytest.approx(v_kms.mean(), abs=1.0)
        assert read("strict_vpeak")[20, 22] in [pytest.approx(v, abs=1e-2) for v in v_kms]


def test_wavelengths_are_optical_velocities(tmp_path):
    metres = LIGHT_KMS * 1e3 / REST_HZ * (1 + V_KMS / LIGHT_KMS)
    header = cards(CTYPE3="WAVE", CUNIT3="m", CRVAL3=metres[0], CDELT3=metres[1] - metres[0])
    check_disc(make(tmp_path, as_float32(measured()), header))


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 9, 15])
def test_few_channels(tmp_path, channels):
    v_kms = 1000 + 4.0 * np.arange(channels)
    header, wide = cards(CRVAL3=1e6, CRPIX1=45.0, CRPIX2=41.0), (channels, 80, 88)
    data = measured(v_kms, wide)
    read = make(tmp_path, as_float32(data), header, moments=("mom0", "mom1", "mom2", "tpeak", "vquad"))
    expected = 4.0 * truth(v_kms, wide).sum(axis=0)
    flux, error = read("broad_mom0"), read("broad_emom0")
    inside = expected > 0.5 * expected.max()
    assert np.all(np.isfinite(error[inside]) & (error[inside] > 0))
    assert flux[inside].sum() == pytest.approx(expected[inside].sum(), rel=0.05)
    assert abs(read("broad_mom1")[40, 44] - v_kms.mean()) < 4.0
    assert np.nanmedian(read("noise")) == pytest.approx(SIGMA_K, rel=0.15)


def with_beams(tmp_path, data, header, majors, minors, angles):
    """A cube with one beam per channel, as CASA exports it."""
    for card in ("BMAJ", "BMIN", "BPA"):
        header.remove(card)
    header["CASAMBM"] = True
    channels = np.arange(len(data))
    columns = [
        fits.Column("BMAJ", "1E", unit="arcsec", array=majors),
        fits.Column("BMIN", "1E", unit="arcsec", array=minors),
        fits.Column("BPA", "1E", unit="deg", array=angles),
        fits.Column("CHAN", "1J", array=channels),
        fits.Column("POL", "1J", array=0 * channels),
    ]
    table = fits.BinTableHDU.from_columns(columns, name="BEAMS")
    fits.HDUList([fits.PrimaryHDU(as_float32(data), header), table]).writeto(tmp_path / "hard.fits")


def point_source(majors, minors, angles):
    """Channels of a point source of 1 Jy seen through each channel's own beam, Jy/beam."""
    y, x = np.mgrid[0:41, 0:41] - 20.0
    planes = []
    for major, minor, angle in zip(majors, minors, np.radians(angles), strict=True):
        along, across = y * np.cos(angle) - x * np.sin(angle), -y * np.sin(angle) - x * np.cos(angle)
        planes.append(np.exp(-4 * np.log(2) * ((along / major) ** 2 + (across / minor) ** 2)))
    return np.stack(planes)


def test_a_beam_table_becomes_one_beam(tmp_path):
    """Of a point source all channels have the same peak in Jy/beam, and so in K once the beams agree."""
    majors, minors = np.linspace(5.0, 6.5, 8), np.linspace(4.0, 5.0, 8)
    angles = np.linspace(0.0, 90.0, 8)
    rng = np.random.default_rng(1)
    data = point_source(majors, minors, angles) + 0.001 * support.beam_noise(rng, (8, 41, 41), BEAM)
    header = cards(BUNIT="Jy/beam", CRPIX1=21.0)
    with_beams(tmp_path, data, header, majors, minors, angles)
    read = make(tmp_path, None, None, moments=("tpeak",))
    native = fits.getheader(tmp_path / "maps" / "hard.fits")
    assert native["BMAJ"] == native["BMIN"] == pytest.approx(6.5 / 3600, rel=1e-3)
    peak_k = read("")[:, 20, 20]
    assert np.ptp(peak_k) < 0.02 * peak_k.mean()
    assert peak_k.mean() == pytest.approx(kelvin_per_jansky(REST_HZ / 1e9, Beam(6.5, 6.5)), rel=0.02)


def test_a_beam_table_may_have_blank_channels(tmp_path):
    majors, angles = np.full(SHAPE[0], BEAM), np.zeros(SHAPE[0])
    majors[:2] = 0.0
    data = measured()
    data[:2] = np.nan
    with_beams(tmp_path, data, cards(), majors, majors, angles)
    check_disc(make(tmp_path, None, None))


def test_oblong_pixels(tmp_path):
    """A round source convolved on pixels twice as wide as high is round on the sky."""
    y, x = np.mgrid[0:61, 0:41] - np.array([30, 20])[:, None, None]
    image = np.exp(-4 * np.log(2) * ((2 * x) ** 2 + y**2) / 8.0**2)
    noise = support.beam_noise(np.random.default_rng(2), (12, 61, 41), BEAM)
    data = image * np.exp(-0.5 * ((np.arange(12) - 6)[:, None, None] / 2.0) ** 2) + 0.002 * noise
    header = cards(CDELT1=-2 / 3600, BMAJ=8 / 3600, BMIN=8 / 3600, CRPIX1=21.0, CRPIX2=31.0)
    read = make(tmp_path, as_float32(data), header, moments=("broad_tpeak",), resolutions=["12arcsec"])
    peak = read("broad_tpeak", "12as")
    assert peak[30, 20] == pytest.approx((8 / 12) ** 2, rel=0.03)
    assert peak[36, 20] == pytest.approx(peak[30, 23], rel=0.03)
    assert peak[36, 20] / peak[30, 20] == pytest.approx(0.5, abs=0.03)


MISSING = {
    "BUNIT": {"BUNIT": None},
    "BMAJ": {"BMAJ": None, "BMIN": None, "BPA": None},
    "CTYPE3": {"CTYPE3": None},
    "CRVAL3": {"CRVAL3": None},
    "CDELT1": {"CDELT1": None},
    "CDELT3": {"CDELT3": 0.0},
    "CTYPE1": {"CTYPE1": "LINEAR"},
    "CUNIT3": {"CUNIT3": None, "CDELT3": 4.0, "CRVAL3": 1000.0},
    "RESTFRQ": {"CTYPE3": "FREQ", "CUNIT3": "Hz", "CRVAL3": 1.4e9, "CDELT3": -2e4, "RESTFRQ": None},
}


@pytest.mark.parametrize("card", MISSING)
def test_what_cannot_be_known_is_asked_for_by_name(tmp_path, card):
    with pytest.raises(DataError) as caught:
        make(tmp_path, as_float32(measured()), cards(**MISSING[card]))
    assert card in str(caught.value)
    assert caught.value.remedy
    assert not list((tmp_path / "maps").glob("*.fits"))


@pytest.mark.parametrize(("unit", "named"), [("mag", "BUNIT"), ("Jy/pixel", "BUNIT"), ("Jy/beam", "RESTFRQ")])
def test_units_that_do_not_become_kelvin(tmp_path, unit, named):
    with pytest.raises(DataError, match=named):
        make(tmp_path, as_float32(measured()), cards(BUNIT=unit, RESTFRQ=None))


def test_a_scale_that_is_not_linear_is_refused(tmp_path):
    with pytest.raises(DataError, match="CTYPE3"):
        make(tmp_path, as_float32(measured()), cards(CTYPE3="VELO-F2V"))


def test_several_stokes_planes_are_refused(tmp_path):
    header, data = stokes_last(cards(), measured())
    with pytest.raises(DataError, match="Stokes"):
        make(tmp_path, as_float32(np.concatenate([data, data])), header)


def test_an_image_is_not_a_cube(tmp_path):
    with pytest.raises(DataError, match="CTYPE3"):
        make(tmp_path, as_float32(measured()[0]), support.header(axis=""))


def test_nothing_but_blanks(tmp_path):
    with pytest.raises(NothingSelectedError, match="blank"):
        make(tmp_path, np.full(SHAPE, np.nan, np.float32), cards())
    assert not list((tmp_path / "maps").glob("*.fits"))


def test_nothing_but_noise(tmp_path):
    """Empty masks give maps of zero with limits, and a page that says so."""
    noise = SIGMA_K * support.beam_noise(np.random.default_rng(8), SHAPE, BEAM)
    read = make(tmp_path, as_float32(noise), cards(), moments=quick.DEFAULT_MOMENTS, page=True)
    assert not read("strictmask").any()
    assert not read("broadmask").any()
    assert (read("strict_mom0") == 0).all()
    np.testing.assert_allclose(read("strict_emom0"), SIGMA_K * np.sqrt(10.0 * 4.0), rtol=0.5)
    assert np.isnan(read("strict_mom1")).all()
    assert "Traceback" not in (tmp_path / "maps" / "hard.html").read_text()
