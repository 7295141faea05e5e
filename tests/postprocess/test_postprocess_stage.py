"""From an order to files: the whole path on small fields whose truth is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from fringeflow import fitsio, names
from fringeflow.errors import CorruptInputError, DataError
from fringeflow.graph.model import Need, Unit, UnitId
from fringeflow.graph.postprocess import PostprocessRecipe
from fringeflow.jobs.order import Job, Order
from fringeflow_postprocess import stage

IMAGED = UnitId(stage="imaging", target="galx", config="7m", product="co21")
Make = Callable[..., Job]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Post-process files as the service would, into a new scratch folder."""
    runs = iter(range(9))

    def run(
        image: Path,
        response: Path,
        *,
        kind: str = "line",
        facts: Mapping[str, Any] | None = None,
        alpha: Path | None = None,
        **recipe: object,
    ) -> Job:
        exts = ["pbcorr_trimmed_k", "trimmed_pb"] + (["trimmed_alpha"] if alpha else [])
        files = {"": image, "pb": response} | ({"alpha": alpha} if alpha else {})
        settings = PostprocessRecipe.model_validate({"kind": kind, "pblimit": 0.2} | recipe)
        unit = Unit(
            id=IMAGED.of("postprocess"),
            revision=1,
            recipe=settings.model_dump(mode="json"),
            needs=(Need(unit=IMAGED),),
            outputs=tuple(names.cube("galx", "7m", "co21", ext) for ext in exts),
        )
        order = Order(
            unit=unit,
            work_key="ab" * 32,
            inputs={str(IMAGED): {names.cube("galx", "7m", "co21", ext): path for ext, path in files.items()}},
            facts={str(IMAGED): facts or {}},
            ancestors={"incoming/galx.ms": "cd" * 32},
        )
        scratch = tmp_path / f"scratch{next(runs)}"
        scratch.mkdir()
        job = Job((order,), scratch)
        stage.make(job)
        return job

    return run


def output(job: Job, ext: str = "pbcorr_trimmed_k") -> fits.PrimaryHDU:
    (made,) = job.made.values()
    return fits.open(made.outputs[names.cube("galx", "7m", "co21", ext)], checksum=True)[0]


def facts_of(job: Job) -> Mapping[str, Any]:
    (made,) = job.made.values()
    return made.facts


def response_of(shape: tuple[int, int], fwhm_pixels: float) -> np.ndarray:
    y, x = np.indices(shape, dtype=float)
    r2 = (x - shape[1] // 2) ** 2 + (y - shape[0] // 2) ** 2
    return np.exp(-4 * math.log(2) * r2 / fwhm_pixels**2).astype(np.float32)


def test_point_source_with_a_beam_per_plane(
    make: Make, write: Callable[..., Path], header: Callable[..., fits.Header], point_source: Callable[..., np.ndarray]
) -> None:
    """Flux per channel to 0.5 % in kelvin, one round beam for all planes; a blank plane's beam does not count."""
    beams = [(0.0, 0.0, 0.0), (1.0, 0.8, 30.0), (1.1, 0.7, 100.0), (1.05, 1.05, 0.0), (9.0, 9.0, 0.0)]
    response = response_of((80, 84), 60)
    data = np.stack([point_source((80, 84), beam[0] or 1, beam[1] or 1, beam[2]) * response for beam in beams])
    data[[0, -1]] = np.nan
    data[:, response < 0.2] = np.nan
    cube = write("i.fits", data, header(beam=None), beams=beams)
    job = make(cube, write("pb.fits", np.stack([response] * 5), header(beam=None)))
    result = output(job)
    head, planes = result.header, result.data
    assert head["BMAJ"] * 3600 == pytest.approx(1.1, rel=1e-6)
    assert (head["BMIN"], head["BPA"]) == (head["BMAJ"], 0)
    omega = math.pi / (4 * math.log(2)) * 1.1**2
    for index in (1, 2, 3):
        velocity = 1e6 + 2500 * index
        nu = 230.538e9 * (1 - velocity / 299792458)
        factor = 22.9949 / 1.1**2 * (230.538e9 / nu) ** 2
        assert np.nansum(planes[index], dtype=float) * 0.04 / omega / factor == pytest.approx(1, rel=0.005)
    assert np.isnan(planes[[0, -1]]).all()
    assert facts_of(job)["beam_in_arcsec"] == pytest.approx([1.1, 0.7, 100.0])
    assert facts_of(job)["convolved_planes"] == 3
    assert "BEAMS" not in fits.open(result.fileinfo()["file"].name)


def test_constant_sky_one_box_and_the_rind(
    make: Make, write: Callable[..., Path], header: Callable[..., fits.Header]
) -> None:
    """Constant sky comes back up to the border; image and beam are on one grid though their masks differ (W-02)."""
    response = response_of((70, 74), 40)
    data = np.stack([response * np.float32(0.5)] * 3)
    data[:, :, :20] = np.nan
    data[0] = np.nan
    with_edge = np.where(response >= 0.1, response, np.float32(np.nan))
    job = make(
        write("i.fits", data, header((0.8, 0.7, 10.0))),
        write("pb.fits", np.stack([with_edge] * 3), header(None)),
        facts={"pblimit": 0.3},
    )
    result, beam = output(job), output(job, "trimmed_pb")
    valid = (response >= 0.3) & np.isfinite(data[1])
    rows, columns = np.flatnonzero(valid.any(axis=1)), np.flatnonzero(valid.any(axis=0))
    box = (slice(rows[0] - 1, rows[-1] + 2), slice(columns[0] - 1, columns[-1] + 2))
    inside = valid[box]
    kept = inside & np.roll(inside, 1, 0) & np.roll(inside, -1, 0) & np.roll(inside, 1, 1) & np.roll(inside, -1, 1)
    assert result.data.shape == beam.data.shape == (3, *inside.shape)  # the blank plane is the pad of one
    np.testing.assert_array_equal(np.isfinite(result.data), [np.zeros_like(kept), kept, kept])
    np.testing.assert_array_equal(beam.data[1], np.where(inside, response[box], np.nan))
    factor = result.header["JYTOK"] * 0.5 * 0.8 / 0.7
    np.testing.assert_allclose(result.data[1:][:, kept], factor, rtol=1e-3)
    assert facts_of(job)["pblimit"] == 0.3
    assert all(result.header[card] == beam.header[card] for card in ("CRPIX1", "CRPIX2", "CRVAL1", "CDELT1", "CRPIX3"))
    sky = WCS(header(), fix=False).celestial.wcs_pix2world([[columns[0] + 4, rows[0] + 9]], 0)
    np.testing.assert_allclose(WCS(result.header).celestial.wcs_pix2world([[5, 10]], 0), sky, atol=1e-9)


def test_rebinned_when_the_beam_is_large(
    make: Make, write: Callable[..., Path], header: Callable[..., fits.Header]
) -> None:
    """At least three pixels across the beam afterwards, the mean kept, the primary beam rebinned with it (W-14)."""
    response = response_of((101, 101), 70)
    data = np.stack([response] * 2)
    job = make(write("i.fits", data, header((1.4, 1.4, 0.0))), write("pb.fits", data, header(None)))
    result, beam = output(job), output(job, "trimmed_pb")
    assert facts_of(job)["rebin_factor"] == 2
    assert result.header["CDELT2"] * 3600 == pytest.approx(0.4)
    assert result.header["BMAJ"] / result.header["CDELT2"] >= 3
    np.testing.assert_allclose(np.nanmean(result.data, axis=(1, 2)) / result.header["JYTOK"], 1, rtol=1e-4)
    assert beam.data.shape == result.data.shape
    before, after = WCS(header(), fix=False).celestial, WCS(result.header).celestial
    peak = np.unravel_index(np.nanargmax(beam.data[0]), beam.data[0].shape)
    place = before.wcs_world2pix(after.wcs_pix2world([peak[::-1]], 0), 0)[0]
    np.testing.assert_allclose(place, 50, atol=1)


def test_header_of_the_delivered_cube(
    make: Make, write: Callable[..., Path], header: Callable[..., fits.Header]
) -> None:
    """The cards of section 9.4, nothing of when and where, and the way back to the visibilities (W-16)."""
    data = np.random.default_rng(4).normal(size=(4, 30, 30)).astype(np.float32)
    job = make(write("i.fits", data, header()), write("pb.fits", np.ones_like(data), header(None)))
    result = output(job)
    head = result.header
    assert result.data.ndim == 3
    assert (head["OBJECT"], head["BUNIT"], head["CTYPE3"], head["CUNIT3"]) == ("GALX", "K", "VRAD", "m/s")
    assert head["DATAMAX"] == np.nanmax(result.data)
    assert head["DATAMIN"] == np.nanmin(result.data)
    for card in ("OBSERVER", "DATE-OBS", "DATE", "MEMAVAIL", "BLANK", "BZERO"):
        assert card not in head
    assert not any("tclean" in str(line) for line in head["HISTORY"])
    assert any("fringeflow" in str(line) for line in head["COMMENT"])
    channels = 230.538e9 * (1 - (1e6 + 2500 * np.arange(4)) / 299792458)
    assert head["JYTOKFRQ"] == pytest.approx(channels.mean(), rel=1e-12)
    assert head["JYTOK"] == pytest.approx(22.9949 * (230.538e9 / channels.mean()) ** 2, rel=1e-4)
    made_of = fitsio.read_provenance(head)
    assert made_of["inputs"] == {"incoming/galx.ms": "cd" * 32}
    assert made_of["unit"] == {"id": "postprocess/galx/7m/co21", "work_key": "ab" * 32}
    assert made_of["parameters"] == facts_of(job)
    assert {"fringeflow-postprocess", "astropy", "numpy"} <= set(made_of["software"])


@pytest.mark.parametrize("elongation", [0.9, 1.1])
def test_nearly_round_beams_lose_no_flux(
    elongation: float,
    make: Make,
    write: Callable[..., Path],
    header: Callable[..., fits.Header],
    point_source: Callable[..., np.ndarray],
) -> None:
    """Either side of the reference's tolerance of 1 % the header is round and true: the image is convolved to it."""
    minor = 1 - elongation / 100
    data = point_source((60, 60), 1.0, minor, 0.0)[None]
    job = make(write("i.fits", data, header((1.0, minor, 0.0))), write("pb.fits", np.ones_like(data), header(None)))
    result = output(job)
    assert result.header["BMIN"] == result.header["BMAJ"] == pytest.approx(1 / 3600)
    flux = np.nansum(result.data, dtype=float) / result.header["JYTOK"] * 0.04 / (math.pi / (4 * math.log(2)))
    assert flux == pytest.approx(1, rel=1e-4)


def test_coarse_edge_channels_are_cut_if_asked_for(
    make: Make, write: Callable[..., Path], header: Callable[..., fits.Header], point_source: Callable[..., np.ndarray]
) -> None:
    """They do not set the resolution of the others, and the velocities of those stay (W-03)."""
    beams = [(3.0, 3.0, 0.0), *[(1.0, 0.9, 0.0)] * 4, (2.0, 2.0, 0.0)]
    data = np.stack([point_source((60, 60), *beam) for beam in beams])
    files = write("i.fits", data, header(None), beams=beams), write("pb.fits", np.ones_like(data), header(None))
    whole, cut = (output(make(*files, cut_coarse_edges=flag)) for flag in (False, True))
    assert (whole.header["BMAJ"] * 3600, cut.header["BMAJ"] * 3600) == pytest.approx((3.0, 1.0))
    assert (len(whole.data), len(cut.data)) == (6, 4)
    assert cut.header["CRPIX3"] == whole.header["CRPIX3"] - 1
    assert np.isfinite(cut.data[:, 30, 30]).all()


@pytest.mark.parametrize("rule", ["channel", "constant"])
def test_kelvin_rules(rule: str, make: Make, write: Callable[..., Path], header: Callable[..., fits.Header]) -> None:
    head = header((1.0, 1.0, 0.0))
    head["CDELT3"] = 1e6
    data = np.ones((5, 12, 12), np.float32)
    job = make(write("i.fits", data, head), write("pb.fits", data, head), kelvin=rule)
    levels = output(job).data[:, 6, 6]
    channels = 230.538e9 * (1 - (1e6 + 1e6 * np.arange(5)) / 299792458)
    truth = 22.99494 * (230.538e9 / (channels if rule == "channel" else np.full(5, channels.mean()))) ** 2
    np.testing.assert_allclose(levels, truth, rtol=1e-5)
    assert output(job).header["JYTOKRUL"] == rule


@pytest.mark.parametrize("axes", [("STOKES", "VRAD"), ("VRAD", "STOKES")])
def test_any_order_of_axes_gives_the_same(
    axes: tuple[str, ...], make: Make, write: Callable[..., Path], header: Callable[..., fits.Header]
) -> None:
    """A Stokes axis third or fourth gives the pixels and cards that none gives (12.2, 13)."""
    data = np.random.default_rng(5).normal(size=(4, 30, 32)).astype(np.float32)
    data[:, :3] = np.nan
    plain = write("plain.fits", data, header())
    head = header()
    spectral = {key: head.pop(f"{key}3") for key in ("CTYPE", "CRVAL", "CDELT", "CRPIX", "CUNIT")}
    for axis, kind in enumerate(axes, start=3):
        values = spectral if kind == "VRAD" else {"CTYPE": "STOKES", "CRVAL": 1.0, "CDELT": 1.0, "CRPIX": 1.0}
        head.update({f"{key}{axis}": value for key, value in values.items()} | {f"PC{axis}_{axis}": 1.0})
    shape = tuple(4 if axis == "VRAD" else 1 for axis in axes[::-1])
    turned = write("turned.fits", data.reshape(*shape, 30, 32), head)
    first, second = (output(make(path, path, pblimit=-1)) for path in (plain, turned))
    assert first.header["DATASUM"] == second.header["DATASUM"]
    np.testing.assert_array_equal(first.data, second.data)
    cards = [{str(card) for card in hdu.header.cards if card.keyword != "CHECKSUM"} for hdu in (first, second)]
    assert cards[0] == cards[1]


def test_twice_the_same_bytes_and_nothing_else(
    make: Make, write: Callable[..., Path], header: Callable[..., fits.Header]
) -> None:
    """Nothing of an earlier run matters, and nothing but the outputs is left (12.2, 15)."""
    data = np.random.default_rng(6).normal(size=(3, 30, 32)).astype(np.float32)
    image, response = write("i.fits", data, header()), write("pb.fits", np.ones_like(data), header())
    files = []
    for _ in range(2):
        job = make(image, response)
        (made,) = job.made.values()
        assert sorted(job.scratch.iterdir()) == sorted(made.outputs.values())
        files.append([file.read_bytes() for file in made.outputs.values()])
    assert files[0] == files[1]


def test_continuum(
    make: Make, write: Callable[..., Path], header: Callable[..., fits.Header], point_source: Callable[..., np.ndarray]
) -> None:
    """An image of two axes, its frequency from imaging's record, its spectral index passed on where valid (W-22)."""
    response = response_of((50, 52), 30)
    data = point_source((50, 52), 1.0, 0.8, 30.0) * response
    alpha = np.full((50, 52), -0.7, np.float32)
    alpha[25, 26] = np.nan
    image, pb = write("i.fits", data, header()), write("pb.fits", response, header(None))
    job = make(
        image, pb, kind="continuum", facts={"frequency_hz": 230e9}, alpha=write("a.fits", alpha, header(unit=""))
    )
    result, index = output(job), output(job, "trimmed_alpha")
    assert result.data.shape == index.data.shape == output(job, "trimmed_pb").data.shape
    assert result.data.ndim == 2
    assert result.header["JYTOK"] == pytest.approx(22.9949 * (230.538 / 230) ** 2, rel=1e-4)
    flux = np.nansum(result.data, dtype=float) / result.header["JYTOK"] * 0.04 / (math.pi / (4 * math.log(2)))
    assert flux == pytest.approx(1, rel=0.005)
    assert np.isfinite(index.data).sum() == np.isfinite(result.data).sum() - 1
    assert set(np.unique(index.data[np.isfinite(index.data)])) == {np.float32(-0.7)}
    assert index.header["BUNIT"].strip() == ""
    with pytest.raises(DataError, match="frequency"):
        make(image, pb, kind="continuum")


def test_continuum_with_a_frequency_axis_loses_it(
    make: Make, write: Callable[..., Path], header: Callable[..., fits.Header]
) -> None:
    head = header()
    head["CTYPE3"], head["CUNIT3"], head["CRVAL3"] = "FREQ", "Hz", 100e9
    data = np.ones((1, 20, 20), np.float32)
    result = output(make(write("i.fits", data, head), write("pb.fits", data, head), kind="continuum"))
    assert result.data.ndim == 2
    assert result.header["JYTOKFRQ"] == 100e9
    assert not [card for card in result.header if card.endswith("3") and card != "DATASUM"]


class TestRefused:
    """Each message names the file and what to do."""

    def test_empty(self, make: Make, write: Callable[..., Path], header: Callable[..., fits.Header]) -> None:
        data = np.ones((2, 9, 9), np.float32)
        with pytest.raises(DataError, match=r"i\.fits is empty"):
            make(write("i.fits", np.nan * data, header()), write("pb.fits", data, header()))
        with pytest.raises(DataError, match=r"i\.fits is empty"):
            make(write("i.fits", data, header()), write("pb.fits", 0.1 * data, header()))

    def test_nothing_left_by_erosion(
        self, make: Make, write: Callable[..., Path], header: Callable[..., fits.Header], tmp_path: Path
    ) -> None:
        data = np.full((1, 9, 9), np.nan, np.float32)
        data[0, 4, :] = 1
        with pytest.raises(DataError, match="empty"):
            make(write("i.fits", data, header()), write("pb.fits", np.ones_like(data), header()))
        assert not list((tmp_path / "scratch0").iterdir())

    def test_other_grids(self, make: Make, write: Callable[..., Path], header: Callable[..., fits.Header]) -> None:
        data = np.ones((2, 9, 9), np.float32)
        image, moved = write("i.fits", data, header()), header()
        moved["CRPIX1"] += 1
        for response in (write("p1.fits", data, moved), write("p2.fits", data[:, 1:], header())):
            with pytest.raises(DataError, match="not on one grid"):
                make(image, response)

    def test_no_beam_or_too_few(
        self, make: Make, write: Callable[..., Path], header: Callable[..., fits.Header]
    ) -> None:
        data = np.ones((2, 9, 9), np.float32)
        response = write("pb.fits", data, header(None))
        with pytest.raises(CorruptInputError, match="restoring beam"):
            make(write("i.fits", data, header(None)), response)
        with pytest.raises(CorruptInputError, match="1 beams"):
            make(write("i.fits", data, header(None), beams=[(1.0, 1.0, 0.0)]), response)

    def test_other_units(self, make: Make, write: Callable[..., Path], header: Callable[..., fits.Header]) -> None:
        data = np.ones((2, 9, 9), np.float32)
        with pytest.raises(DataError, match="Jy/beam"):
            make(write("i.fits", data, header(unit="K")), write("pb.fits", data, header()))

    def test_forced_beam(self, make: Make, write: Callable[..., Path], header: Callable[..., fits.Header]) -> None:
        data = np.ones((2, 9, 9), np.float32)
        with pytest.raises(DataError, match="force_beam_arcsec"):
            make(write("i.fits", data, header()), write("pb.fits", data, header()), force_beam_arcsec=0.9)
