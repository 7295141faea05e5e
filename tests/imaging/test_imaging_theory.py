"""The theoretical noise against formulas and against the noise of simulated visibilities (W25)."""

import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from fringeflow.errors import DataError, MissingInputError
from fringeflow_imaging import theory
from fringeflow_imaging.theory import Pointings
from tests.simulation import Observation, Truth, Window, simulate_disc

FWHM = 25.0


def mapped(pointings, **options):
    box = {name: options.pop(name) for name in ("pixel_arcsec", "square") if name in options}
    grid, shape = theory.sky_box(pointings, FWHM, **box)
    return grid, theory.noise_map(pointings, FWHM, grid, shape, **options)


def at(grid, ra, dec):
    x, y = grid.world_to_pixel(SkyCoord(ra, dec, unit="deg"))
    return round(float(y)), round(float(x))


def test_one_pointing_is_the_inverse_of_the_beam():
    grid, noise = mapped(Pointings.of([150.0], [2.0], noise=0.003))
    ny, nx = noise.shape
    assert (ny % 2, nx % 2) == (1, 1)
    assert ny == nx == 2 * 20 + 1
    assert noise[ny // 2, nx // 2] == pytest.approx(0.003)
    assert at(grid, 150.0, 2.0) == (ny // 2, nx // 2)
    half = ny // 2 + 5  # pixels of a tenth of the beam: half its width, where the beam is one half
    assert noise[half, nx // 2] == pytest.approx(0.006)
    assert np.isnan(noise[ny // 2 + 11, nx // 2])
    assert np.isfinite(noise[ny // 2 + 10, nx // 2])


def test_exposures_and_noises_add_as_weights():
    two = Pointings.of([150.0, 150.0], [2.0, 2.0], exposure=[1.0, 3.0], noise=[2.0, 1.0])
    _, noise = mapped(two)
    assert np.nanmin(noise) == pytest.approx((1 / 4 + 3) ** -0.5)


@pytest.mark.parametrize("ra", [0.0, 180.0, 359.999])
@pytest.mark.parametrize("dec", [-75.0, 0.0, 40.0])
def test_fields_lie_where_they_are_wherever_right_ascension_wraps(ra, dec):
    step = 60.0 / 3600
    places = [(ra - step / np.cos(np.radians(dec))) % 360, (ra + step / np.cos(np.radians(dec))) % 360]
    pointings = Pointings.of(places, [dec, dec], noise=[1.0, 2.0])
    grid, noise = mapped(pointings)
    ny, nx = noise.shape
    assert nx > 2 * ny - 20  # 120 arcsec wider
    for place, expected in zip(places, (1.0, 2.0), strict=True):
        assert noise[at(grid, place, dec)] == pytest.approx(expected, rel=0.03)
    square, _ = mapped(pointings, square=True)[1].shape, None
    assert square[0] == square[1] == nx


def test_normalising_divides_by_a_finite_number():
    _, noise = mapped(Pointings.of([10.0], [10.0]))
    relative = theory.normalised(noise)
    assert np.nanmax(relative) == 1.0
    assert np.array_equal(np.isnan(relative), np.isnan(noise))
    assert np.isnan(noise).any()


def test_beams_of_the_dishes():
    assert theory.fwhm_arcsec(12.0, 230.538) == pytest.approx(19.0 * 300 / 230.538)
    assert theory.fwhm_arcsec(7.0, 230.538) == pytest.approx(33.0 * 300 / 230.538)
    assert theory.fwhm_arcsec(25.0, 1.42) == pytest.approx(12.0 / 25.0 * 19.0 * 300 / 1.42)


def test_the_radiometer_equation():
    # 2 k T / (eta A) = 3491 Jy for 100 K and 12 m at 0.7; 40 antennas, one hour, 1 MHz, two polarisations
    found = theory.radiometer_jy(100.0, 12.0, 40, 3600.0, 1e6)
    assert found == pytest.approx(3488.0 / np.sqrt(40 * 39 * 2 * 1e6 * 3600), rel=2e-3)
    assert theory.radiometer_jy(100.0, 12.0, 40, 4 * 3600.0, 1e6) == pytest.approx(found / 2)


def test_tables_of_pointings_are_read_from_the_third_line_and_joined(tmp_path):
    for name, places in (("a.csv", "150.0, 2.0, x\n\n150.01, 2.0\n"), ("b.csv", "150.02,2.01\n")):
        (tmp_path / name).write_text(f"title\nRA,Dec\n{places}")
    found = theory.read_tables([tmp_path / "a.csv", tmp_path / "b.csv"])
    assert found.ra_deg.tolist() == [150.0, 150.01, 150.02]
    assert found.dec_deg.tolist() == [2.0, 2.0, 2.01]
    (tmp_path / "c.csv").write_text("title\nRA,Dec\n12h,2d\n")
    with pytest.raises(DataError, match=r"c\.csv, line 3"):
        theory.read_tables([tmp_path / "c.csv"])
    with pytest.raises(MissingInputError):
        theory.read_tables([tmp_path / "d.csv"])
    with pytest.raises(DataError, match="above zero"):
        Pointings.of([1.0], [1.0], noise=[0.0])


def test_the_weights_of_visibilities_give_the_noise_of_the_image(casa_ready, tmp_path):
    sky = Truth(line_flux_jykms=0.0, sigma_jy=0.05)
    watch = Observation(n_times=4, n_antennas=8, longest_m=120.0)
    seen = simulate_disc(tmp_path / "n.ms", sky, windows=(Window(n_channels=3),), observation=watch)
    found = theory.pointings_of(seen.path, 1)
    assert found.noise[0] == pytest.approx(0.05 / np.sqrt(2 * seen.rows))
    assert theory.pointings_of(seen.path).noise[0] == pytest.approx(0.05 / np.sqrt(2 * 3 * seen.rows))
    assert found.ra_deg[0] % 360 == pytest.approx(180.0, abs=1e-6)
