"""Streamed FITS files: what astropy reads back, checksums, provenance, bits."""

from __future__ import annotations

import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from hypothesis import given
from hypothesis import strategies as st

from fringeflow import fitsio
from fringeflow.errors import CorruptInputError, DataError, MissingInputError


def planes_of(shape: tuple[int, ...], seed: int = 1) -> np.ndarray:
    data = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    data[..., 0, 0] = np.nan
    return data


@pytest.mark.parametrize("shape", [(5, 7), (3, 5, 7), (4, 101, 99)])
def test_round_trip_with_valid_checksums(tmp_path: Path, shape: tuple[int, ...]) -> None:
    data = planes_of(shape)
    path = tmp_path / "cube.fits"
    fitsio.write_cube(path, fits.Header([("BUNIT", "K", "unit")]), data.reshape(-1, *shape[-2:]), shape)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with fits.open(path, checksum=True) as hdus:
            hdus.verify("exception")
            np.testing.assert_array_equal(hdus[0].data, data)
            header = hdus[0].header
    assert path.stat().st_size % 2880 == 0
    assert header["BUNIT"] == "K"
    assert header["DATAMAX"] == np.nanmax(data)
    assert header["DATAMIN"] == np.nanmin(data)
    assert list(tmp_path.iterdir()) == [path]


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "cube.fits"
    fitsio.write_cube(path, fits.Header(), planes_of((2, 5, 7)), (2, 5, 7))
    content = bytearray(path.read_bytes())
    content[2880 + 30] ^= 1
    path.write_bytes(content)
    with pytest.warns(AstropyUserWarning, match="sum verification failed"):
        fits.getdata(path, checksum=True)


@pytest.mark.parametrize(("dtype", "bitpix"), [("uint8", 8), ("int16", 16)])
def test_integer_planes_that_do_not_fill_words(tmp_path: Path, dtype: fitsio.PixelType, bitpix: int) -> None:
    mask = np.random.default_rng(2).random((3, 5, 7)) > 0.5
    path = tmp_path / "mask.fits"
    fitsio.write_cube(path, fits.Header(), mask, mask.shape, dtype=dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with fits.open(path, checksum=True) as hdus:
            assert hdus[0].header["BITPIX"] == bitpix
            np.testing.assert_array_equal(hdus[0].data, mask)


def test_same_planes_same_bytes(tmp_path: Path) -> None:
    for name in ("a.fits", "b.fits"):
        fitsio.write_cube(tmp_path / name, fits.Header([("OBJECT", "X")]), iter(planes_of((2, 5, 7))), (2, 5, 7))
    assert (tmp_path / "a.fits").read_bytes() == (tmp_path / "b.fits").read_bytes()


@pytest.mark.parametrize("extra", [0, 30, 31, 32, 33])
def test_all_blank_has_no_range_and_a_valid_header(tmp_path: Path, extra: int) -> None:
    """Two cards fewer at the end than reserved at the start, also where that would save a block."""
    header = fits.Header([(f"KEY{index}", index) for index in range(extra)])
    path = tmp_path / "blank.fits"
    fitsio.write_cube(path, header, np.full((1, 3, 3), np.nan), (3, 3))
    with fits.open(path, checksum=True) as hdus:
        hdus.verify("exception")
        assert "DATAMAX" not in hdus[0].header
        assert np.isnan(hdus[0].data).all()


@pytest.mark.parametrize("given_planes", [1, 3])
def test_wrong_number_of_planes_leaves_nothing(tmp_path: Path, given_planes: int) -> None:
    with pytest.raises(ValueError, match="plane"):
        fitsio.write_cube(tmp_path / "cube.fits", fits.Header(), planes_of((given_planes, 4, 4)), (2, 4, 4))
    assert not list(tmp_path.iterdir())


def test_an_error_while_streaming_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "cube.fits"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match="shape"):
        fitsio.write_cube(path, fits.Header(), [np.zeros((3, 3)), np.zeros((2, 2))], (2, 3, 3))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("order", [("FREQ",), ("STOKES", "FREQ"), ("FREQ", "STOKES")])
def test_axis_roles_come_from_the_header(tmp_path: Path, order: tuple[str, ...]) -> None:
    """A Stokes axis third, fourth or absent gives the same planes and the same header (12.2, 13)."""
    data = planes_of((4, 5, 7))
    header = fits.Header()
    header["PC1_1"], header["PC1_2"] = 1.0, 0.0
    for axis, kind in enumerate(("RA---SIN", "DEC--SIN", *order), start=1):
        header[f"CTYPE{axis}"] = kind
        header[f"CRVAL{axis}"] = {"FREQ": 1.42e9, "STOKES": 1.0}.get(kind, 10.0)
        header[f"PC{axis}_{axis}"] = 1.0
    shape = tuple(4 if kind == "FREQ" else 1 for kind in reversed(order))
    path = tmp_path / "cube.fits"
    fits.writeto(path, data.reshape(*shape, 5, 7), header)
    with fitsio.Planes(path) as cube:
        assert cube.is_cube
        assert cube.shape == (4, 5, 7)
        np.testing.assert_array_equal(np.stack(list(cube)), data)
        assert cube.header["CTYPE3"] == "FREQ"
        assert cube.header["CRVAL3"] == 1.42e9
        assert "CTYPE4" not in cube.header
        assert "PC4_4" not in cube.header


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError):
        fitsio.Planes(tmp_path / "none.fits")
    (tmp_path / "text.fits").write_text("not an image")
    with pytest.raises(CorruptInputError):
        fitsio.Planes(tmp_path / "text.fits")
    fits.PrimaryHDU().writeto(tmp_path / "table.fits")
    with pytest.raises(CorruptInputError, match="no image"):
        fitsio.Planes(tmp_path / "table.fits")
    header = fits.Header([("CTYPE3", "STOKES")])
    fits.writeto(tmp_path / "iquv.fits", np.zeros((4, 3, 3), np.float32), header)
    with pytest.raises(DataError, match="4 planes"):
        fitsio.Planes(tmp_path / "iquv.fits")


@pytest.mark.filterwarnings("ignore:File may have been truncated")
def test_a_file_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "cube.fits"
    fitsio.write_cube(path, fits.Header([("CTYPE3", "FREQ")]), planes_of((9, 20, 20)), (9, 20, 20))
    path.write_bytes(path.read_bytes()[:-2880])
    with pytest.raises(CorruptInputError, match="shorter"):
        fitsio.Planes(path)


def test_compressed_files_can_be_read(tmp_path: Path) -> None:
    data = planes_of((3, 6, 5))
    fits.writeto(tmp_path / "cube.fits.gz", data, fits.Header([("CTYPE3", "FREQ")]))
    with fitsio.Planes(tmp_path / "cube.fits.gz") as cube:
        np.testing.assert_array_equal(np.stack(list(cube)), data)


def test_memory_is_bounded_by_planes(tmp_path: Path) -> None:
    """A cube of 400 planes passes through in the memory of a few."""
    plane, header = np.ones((64, 64), np.float32), fits.Header([("CTYPE3", "FREQ")])
    fitsio.write_cube(tmp_path / "in.fits", header, (plane for _ in range(400)), (400, 64, 64))
    tracemalloc.start()
    with fitsio.Planes(tmp_path / "in.fits") as cube:
        fitsio.write_cube(tmp_path / "out.fits", cube.header, cube, cube.shape)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.2 * 400 * plane.nbytes


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=90),
    lambda children: st.lists(children, max_size=3),
    max_leaves=5,
)
NAMES = st.dictionaries(st.text(min_size=1, max_size=90), st.text(max_size=80), max_size=4)


@given(parameters=st.dictionaries(st.text(max_size=20), VALUES, max_size=5), software=NAMES, inputs=NAMES)
def test_provenance_reads_back(parameters: dict[str, object], software: dict[str, str], inputs: dict[str, str]) -> None:
    header = fits.Header([("HISTORY", "something older")])
    for work_key in ("first", "ab" * 32):  # the second replaces the first
        fitsio.provenance(
            header, unit="s/t/c/p", work_key=work_key, parameters=parameters, software=software, inputs=inputs
        )
    again = fits.Header.fromstring(header.tostring())
    assert fitsio.read_provenance(again) == {
        "unit": {"id": "s/t/c/p", "work_key": "ab" * 32},
        "software": software,
        "parameters": parameters,
        "inputs": inputs,
    }
    assert again["FFKEY"] == "ab" * 32
    assert again["HISTORY"][0] == "something older"
