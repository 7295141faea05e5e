from __future__ import annotations

import gzip

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fringeflow.errors import CorruptInputError, MissingInputError
from fringeflow.fitsio import write_cube
from fringeflow_derived import convolved, products
from fringeflow_derived.cubes import FitsCube, open_cube
from fringeflow_derived.noise import NoiseOptions
from tests.derived.derived_support import beam_noise, header, write

SHAPE = (4, 30, 40)


@pytest.fixture
def cube(tmp_path):
    data = beam_noise(np.random.default_rng(3), SHAPE, 5.0)
    data[:, :3] = np.nan
    return write(tmp_path / "cube.fits", data)


def same(first, second):
    """Whether two open cubes hold the same, plane by plane and row by row."""
    planes = all(np.array_equal(first.plane(k), second.plane(k), equal_nan=True) for k in range(first.shape[0]))
    return first.shape == second.shape and planes and np.array_equal(first.rows(5, 9), second.rows(5, 9))


def test_compressed_files_are_read_as_plain_ones(cube, tmp_path):
    zipped = tmp_path / "cube.fits.gz"
    zipped.write_bytes(gzip.compress(cube.read_bytes()))
    with fits.open(cube) as hdus:
        tiled = fits.CompImageHDU(hdus[0].data, hdus[0].header, compression_type="GZIP_2", quantize_level=0)
        tiled.writeto(tmp_path / "tiled.fits")  # not told by its name
    with FitsCube(cube) as plain:
        for path in (zipped, tmp_path / "tiled.fits"):
            with FitsCube(path) as other:
                assert same(plain, other)
                assert other.beam == plain.beam
                assert np.array_equal(other.velocity_kms, plain.velocity_kms)


@settings(max_examples=20, deadline=None)
@given(
    hnp.arrays(np.float32, hnp.array_shapes(min_dims=3, max_dims=3, max_side=7), elements=st.floats(width=32)),
    st.booleans(),
)
def test_tiles_hold_what_was_written(tmp_path_factory, data, is_mask):
    path = tmp_path_factory.mktemp("tiles") / "cube.fits.fz"
    wanted = (data > 0).astype(np.uint8) if is_mask else data
    write_cube(path, header(), wanted, data.shape, dtype="uint8" if is_mask else "float32")
    with fits.open(path, checksum=True) as hdus:
        assert np.array_equal(hdus[1].data, wanted, equal_nan=not is_mask)
        assert hdus[1].header["BUNIT"] == "K"
        finite = wanted[np.isfinite(wanted)]
        assert hdus[1].header.get("DATAMAX") == (finite.max() if finite.size else None)


@pytest.mark.filterwarnings("error::astropy.utils.exceptions.AstropyUserWarning")
def test_products_are_tiled_on_request_and_the_same(cube, tmp_path):
    made = {}
    for end in ("fits", "fits.fz"):
        files = [tmp_path / f"{name}.{end}" for name in ("smooth", "coverage", "coverage2d")]
        convolved.convolve(cube, *files, fwhm_arcsec=8.0)
        products.noise(files[0], tmp_path / f"noise.{end}", tmp_path, options=NoiseOptions(iterations=1))
        made[end] = (*files, tmp_path / f"noise.{end}")
    for plain, tiled in zip(*made.values(), strict=True):
        with fits.open(tiled, checksum=True) as hdus:
            assert isinstance(hdus[1], fits.CompImageHDU)
        with FitsCube(plain) as first, FitsCube(tiled) as second:
            assert same(first, second)


def test_a_truncated_compressed_file_is_told(cube, tmp_path):
    with FitsCube(cube) as source:
        write_cube(tmp_path / "cube.fits.fz", source.header, map(source.plane, range(SHAPE[0])), SHAPE)
    whole = (tmp_path / "cube.fits.fz").read_bytes()
    (tmp_path / "cube.fits.fz").write_bytes(whole[: len(whole) // 2 // 2880 * 2880])
    with pytest.raises(CorruptInputError):
        FitsCube(tmp_path / "cube.fits.fz")


def test_casa_images_are_read_without_casa(casa_ready, cube, tmp_path):
    from casatools import image

    made = image()
    made.fromfits(str(tmp_path / "cube.image"), str(cube))
    made.close()
    with FitsCube(cube) as plain, open_cube(tmp_path / "cube.image") as other:
        assert same(plain, other)
        assert other.beam.major_arcsec == pytest.approx(5.0)
        assert other.unit == "K"
        assert other.velocity_kms == pytest.approx(plain.velocity_kms, abs=1e-6)


def test_one_beam_per_channel_of_a_casa_image(casa_ready, cube, tmp_path):
    from casatools import image

    made = image()
    made.fromfits(str(tmp_path / "cube.image"), str(cube))
    made.setrestoringbeam(remove=True)
    for channel in range(SHAPE[0]):
        made.setrestoringbeam(f"{5 + channel}arcsec", "4arcsec", "10deg", channel=channel)
    made.close()
    with FitsCube(tmp_path / "cube.image") as other:
        assert [beam.major_arcsec for beam in other.beams] == pytest.approx([5, 6, 7, 8])
        assert {round(beam.angle_deg) for beam in other.beams} == {10}


def test_a_folder_that_is_no_image(tmp_path):
    with pytest.raises(MissingInputError, match="neither"):
        FitsCube(tmp_path)


def test_a_cube_behind_a_url_is_fetched_and_gone_at_the_end(cube, tmp_path, monkeypatch):
    from obstore.store import LocalStore

    asked = []

    def bucket(url):
        asked.append(url)
        return LocalStore(tmp_path)

    monkeypatch.setattr("obstore.store.from_url", bucket)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with FitsCube(cube) as plain, open_cube("s3://bucket/cube.fits", scratch=scratch) as other:
        assert same(plain, other)
    assert asked == ["s3://bucket"]
    assert not list(scratch.iterdir())
    with pytest.raises(MissingInputError, match=r"other\.fits"), open_cube("s3://bucket/other.fits"):
        pass
    with FitsCube(cube) as plain, open_cube(cube.as_uri()) as other:
        assert same(plain, other)
