"""Maps of one cube without a project: what is made, what is not made again, and what is said when it cannot be."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from fringeflow import fitsio
from fringeflow.cli import main as cli
from fringeflow.errors import DataError, MissingInputError, NothingSelectedError
from fringeflow_derived import quick

_SPEC = importlib.util.spec_from_file_location("quick_support", Path(__file__).with_name("derived_support.py"))
support = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(support)

SHAPE = (18, 44, 40)
MOMENTS = ("mom0", "strict_mom1", "broad_tpeak")


def write_cube(path, *, peak=1.5, **changes):
    v_kms = 100 + 2.5 * np.arange(SHAPE[0])
    noise = support.beam_noise(np.random.default_rng(4), SHAPE, 5.0)
    header = support.header(crpix=(21.0, 23.0))
    header.update(changes)
    return support.write(path, support.galaxy(SHAPE, v_kms, peak=peak, radius=5.0) + 0.05 * noise, header)


@pytest.fixture
def cube(tmp_path):
    return write_cube(tmp_path / "ngc1__co.fits")


def maps(cube, out, **options):
    return quick.make_maps(cube, out, **{"moments": MOMENTS, "page": False} | options)


def test_everything_is_made_at_every_resolution(cube, tmp_path):
    steps = []
    made = maps(
        cube,
        tmp_path / "out",
        resolutions=["8arcsec", "0.5kpc"],
        distance_mpc=10.0,
        progress=lambda *step: steps.append(step),
    )
    names = {path.name for path in (tmp_path / "out").glob("*.fits")}
    expected = {"ngc1_co.fits", "ngc1_co_broadmask.fits"}
    for tag in ("", "_8as", "_0p5kpc"):
        exts = ("noise", "strictmask", "strict_mom0", "broad_mom0", "strict_mom1", "broad_tpeak")
        errors = ("strict_emom0", "broad_emom0", "strict_emom1", "broad_etpeak")
        expected |= {f"ngc1_co{tag}_{ext}.fits" for ext in (*exts, *errors)}
    expected |= {f"ngc1_co_{tag}{ext}.fits" for tag in ("8as", "0p5kpc") for ext in ("", "_coverage", "_coverage2d")}
    assert names == expected == made.new
    assert [made for _, made, _ in steps] == list(range(1, len(steps) + 1))
    assert steps[-1][1] == steps[-1][2]
    header = fits.getheader(made.path("strict_mom0", "0p5kpc"))
    assert header["BMAJ"] * 3600 == pytest.approx(10.3132, rel=1e-4)
    assert header["DIST_MPC"] == 10.0
    assert header["BUNIT"] == "K km s-1"
    assert not list((tmp_path / "out").glob(".*"))


def test_products_say_what_they_were_made_of(cube, tmp_path):
    made = maps(cube, tmp_path / "out")
    found = fitsio.read_provenance(fits.getheader(made.path("strict_mom0")))
    assert found["unit"]["id"] == "maps/maps"
    assert list(found["inputs"]) == ["ngc1__co.fits"]
    assert found["parameters"]["algorithm"] == "mom0"
    for product in made.products:
        with fits.open(made.folder / product.name, checksum=True) as hdus:
            assert hdus[0]._checksum_valid is not False


def test_a_second_run_makes_nothing_and_a_changed_wish_only_what_it_changes(cube, tmp_path):
    out = tmp_path / "out"
    maps(cube, out)
    assert not maps(cube, out).new
    assert maps(cube, out, moments=("strict_mom2",)).new == {"ngc1_co_strict_mom2.fits", "ngc1_co_strict_emom2.fits"}
    windowed = maps(cube, out, window_kms=7.5).new
    assert windowed == {"ngc1_co_broad_tpeak.fits", "ngc1_co_broad_etpeak.fits"}
    (out / "ngc1_co_strict_mom1.fits").unlink()
    assert maps(cube, out, window_kms=7.5).new == {"ngc1_co_strict_mom1.fits", "ngc1_co_strict_emom1.fits"}


def test_another_resolution_changes_the_broad_mask_but_not_the_strict_one(cube, tmp_path):
    maps(cube, tmp_path / "out")
    new = maps(cube, tmp_path / "out", resolutions=["8"]).new
    assert {"ngc1_co_broadmask.fits", "ngc1_co_broad_mom0.fits", "ngc1_co_8as_noise.fits"} <= new
    assert not {"ngc1_co.fits", "ngc1_co_noise.fits", "ngc1_co_strictmask.fits", "ngc1_co_strict_mom0.fits"} & new


def test_another_cube_of_that_name_makes_everything_new_and_force_too(cube, tmp_path):
    first = maps(cube, tmp_path / "out")
    write_cube(cube, peak=1.6)
    assert maps(cube, tmp_path / "out").new == first.new
    assert maps(cube, tmp_path / "out", force=True).new == first.new


def test_a_copy_of_the_cube_is_the_same_cube(cube, tmp_path):
    maps(cube, tmp_path / "out")
    cube.write_bytes(cube.read_bytes())
    assert not maps(cube, tmp_path / "out").new


def test_products_do_not_depend_on_the_number_of_cores(cube, tmp_path):
    one = maps(cube, tmp_path / "one", resolutions=["8as"])
    two = maps(cube, tmp_path / "two", resolutions=["8as"], jobs=3)
    for product in one.products:
        assert (one.folder / product.name).read_bytes() == (two.folder / product.name).read_bytes(), product.name


def test_a_given_mask_takes_the_place_of_the_broad_one(cube, tmp_path):
    """On another grid, and as an image that counts in every channel."""
    header = support.header(axis="", crpix=(11.0, 13.0))
    image = np.zeros((24, 20), np.float32)
    image[8:16, 6:14] = 1
    mask = support.write(tmp_path / "mask.fits", image, header)
    read = fits.getdata(maps(cube, tmp_path / "out", mask=mask).path("broadmask"))
    assert read[:, 18:26, 16:24].all()
    assert read.sum() == 64 * SHAPE[0]
    image[:] = 0
    support.write(mask, image, header)
    with pytest.raises(NothingSelectedError, match=r"mask\.fits"):
        maps(cube, tmp_path / "out", mask=mask)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"resolutions": ["3arcsec"]}, "finer than the cube"),
        ({"resolutions": ["100pc"]}, "distance"),
        ({"resolutions": ["7 parsnips"]}, "not a resolution"),
        ({"resolutions": ["-7arcsec"]}, "not a resolution"),
        ({"moments": ["mom3"]}, "mom3"),
        ({"moments": ["flat_mom0"]}, "flat_mom0"),
        ({"moments": []}, "no map"),
        ({"window_kms": -1.0}, "window"),
        ({"name": "../x"}, "file name"),
        ({"mask": "nowhere.fits"}, "nowhere.fits"),
    ],
)
def test_what_cannot_be_had_is_said_before_anything_is_made(cube, tmp_path, options, said):
    with pytest.raises(DataError, match=said):
        maps(cube, tmp_path / "out", **options)
    assert not list(tmp_path.glob("out/*.fits"))


def test_the_cube_is_never_overwritten(cube):
    with pytest.raises(DataError, match="overwritten"):
        maps(cube.rename(cube.with_name("plain.fits")), cube.parent)


def test_words_for_resolutions_and_distances():
    words = ["7.5arcsec", "7.5", '1"', "1arcmin", "100pc", "1.5kpc", "2as"]
    found = quick.Wanted.parse(words, distance_mpc=quick.distance_mpc("10 Mpc"))
    assert found.tags == ("", "7p5as", "1as", "60as", "100pc", "1p5kpc", "2as")
    assert found.resolutions[3].fwhm_arcsec == pytest.approx(2.0626, rel=1e-4)
    assert quick.distance_mpc("800kpc") == pytest.approx(0.8)
    assert quick.distance_mpc(7) == 7.0
    with pytest.raises(DataError):
        quick.distance_mpc("10 miles")


def run(arguments, capsys):
    """Run the command; return exit status, standard output and standard error."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["maps", *map(str, arguments)])
    captured = capsys.readouterr()
    return ended.value.code or 0, captured.out, captured.err


def test_the_command_tells_what_it_made_and_draws_a_page(cube, tmp_path, capsys):
    arguments = [cube, "--out", tmp_path / "out", "--moments", "mom0,strict_mom1,ew", "--name", "ngc1"]
    code, out, _ = run(arguments, capsys)
    assert code == 0
    assert "ngc1_strict_mom0.fits" in out
    assert "K km/s" in out
    page = (tmp_path / "out" / "ngc1.html").read_text()
    assert "Maps of ngc1" in page
    assert page.count("data:image/png") >= 5
    assert "not there" not in page
    code, out, _ = run([*arguments, "--json"], capsys)
    result = json.loads(out)
    assert code == 0
    assert not any(product["new"] for product in result["products"])
    assert result["page"].endswith("ngc1.html")


def test_the_command_explains_what_is_wrong(tmp_path, capsys):
    code, _, err = run([tmp_path / "no.fits", "--out", tmp_path / "out"], capsys)
    assert code == 1
    assert "no.fits" in err
    broken = write_cube(tmp_path / "broken.fits", BUNIT="")
    code, _, err = run([broken, "--out", tmp_path / "out"], capsys)
    assert code == 1
    assert "BUNIT" in err
    assert "remedy" in err
    code, _, err = run([broken], capsys)
    assert code == 2
    with pytest.raises(MissingInputError):
        maps(tmp_path / "no.fits", tmp_path / "out")
