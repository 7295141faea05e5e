"""Cubes of several Stokes parameters: every step gives of each what it gives of it alone, bit for bit (W-17)."""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits

from fringeflow import fitsio
from fringeflow.errors import CorruptInputError, DataError
from fringeflow.fitsplanes import Planes
from fringeflow.release import obscore
from fringeflow_derived.cubes import FitsCube
from fringeflow_postprocess import mosaic, planning, rounded, single_field
from fringeflow_postprocess.beam import beams_of
from fringeflow_postprocess.feather import Settings
from fringeflow_postprocess.feathering import Feathering
from fringeflow_postprocess.singledish import Aligned, SingleDish
from tests.postprocess import halves

HERE = SkyCoord(150.0, -30.0, unit="deg")
ORDERS = [("VRAD", "STOKES"), ("STOKES", "VRAD")]
SKIES = {
    1: (1.0, slice(None)),
    2: (0.3, slice(None, None, -1)),
    3: (-0.4, slice(None)),
    4: (-0.5, slice(None, None, -1)),
}
"""What of the sky each parameter sees: times so much, its channels in this order."""

CUBES = ("pbcorr_round", "weight", "pbcorr_trimmed_k", "trimmed_pb")


def stacked(
    path: Path, cubes: Sequence[np.ndarray], stokes: Sequence[int], order: Sequence[str], header: fits.Header
) -> Path:
    """Write cubes (channel, y, x) of Stokes parameters as one file with the extra axes in this order."""
    header = header.copy()
    spectral = {key: header.pop(f"{key}3") for key in ("CTYPE", "CRVAL", "CDELT", "CRPIX", "CUNIT")}
    step = float(stokes[1] - stokes[0]) if len(stokes) > 1 else 1.0
    polarised = {"CTYPE": "STOKES", "CRVAL": float(stokes[0]), "CDELT": step, "CRPIX": 1.0}
    for axis, kind in enumerate(order, start=3):
        values = spectral if kind == "VRAD" else polarised
        header.update({f"{key}{axis}": value for key, value in values.items()})
    data = np.stack(cubes, axis=0 if tuple(order) == ORDERS[0] else 1)
    fits.writeto(path, data.astype(np.float32), header, overwrite=True)
    return path


def field(
    shape: tuple[int, int, int] = (5, 40, 44), beam: float = 2.0, seed: int = 1
) -> tuple[fits.Header, np.ndarray]:
    header = halves.header_at(HERE, shape, halves.PIXEL, beam, "Jy/beam")
    header["BMIN"] = 0.8 * header["BMIN"]
    return header, np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def seen_as(cube: np.ndarray, stokes: int) -> np.ndarray:
    factor, channels = SKIES[stokes]
    return np.float32(factor) * cube[channels]


def drop(folder: Path, stokes: Sequence[int], order: Sequence[str] | None, dish: Sequence[int] | None = None) -> None:
    """Drop halves, of unequal beams, and a dish's cube with these parameters; without an order, the only one bare."""
    folder.mkdir()
    for name in halves.HALVES:
        halves.drop_half(folder, name, HERE, sigma=0.02)
    fits.setval(folder / "gal_2.fits", "BMIN", value=1.5 / 3600)
    fits.setval(folder / "gal_1.fits", "BMAJ", value=2.2 / 3600)
    halves.drop_dish(folder, HERE)
    wanted = {"gal_1.fits": stokes, "gal_2.fits": stokes, "tp.fits": stokes if dish is None else dish}
    for name, which in wanted.items():
        data, header = fits.getdata(folder / name, header=True)
        for card in [card for card in header if card.endswith("4")]:
            del header[card]
        cubes = [seen_as(np.squeeze(data), each) for each in which]
        if order is None:
            fits.writeto(folder / name, cubes[0], header, overwrite=True)
        else:
            stacked(folder / name, cubes, which, order, header)


def made(folder: Path) -> dict[str, fits.PrimaryHDU]:
    outcome = halves.run(folder, HERE)
    assert outcome.complete, outcome
    return products(folder)


def products(folder: Path) -> dict[str, fits.PrimaryHDU]:
    return {path.name: fits.open(path)[0] for path in (folder / "work/products/postprocess/gal").glob("*.fits")}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Mapping[int, dict[str, fits.PrimaryHDU]]:
    """What comes out of I and V by themselves."""
    folder, result = tmp_path_factory.mktemp("alone"), {}
    for stokes in (1, 4):
        drop(folder / str(stokes), [stokes], None)
        result[stokes] = made(folder / str(stokes))
    return result


@pytest.mark.parametrize("order", ORDERS)
def test_every_step_of_a_mosaic_with_single_dish(
    order: tuple[str, str], alone: Mapping[int, dict[str, fits.PrimaryHDU]], tmp_path: Path
) -> None:
    """Fields, round beams, weights, aligned dish, mosaic, feathers, final cubes: I and V, which are 3 apart."""
    drop(tmp_path / "run", [1, 4], order)
    together = made(tmp_path / "run")
    assert set(together) == set(alone[1])
    assert len(together) == 27
    for name, hdu in together.items():
        assert hdu.data.shape == (2, *alone[1][name].data.shape), name
        for place, stokes in enumerate((1, 4)):
            assert hdu.data[place].tobytes() == alone[stokes][name].data.tobytes(), (name, stokes)
        cards = [hdu.header[f"{card}4"] for card in ("CTYPE", "CRVAL", "CDELT", "CRPIX")]
        assert cards == ["STOKES", 1.0, 3.0, 1.0]
        others = ["CRVAL1", "CRPIX1", "CRPIX2", "CRVAL3", "CRPIX3", "CDELT3", "CTYPE3"]
        assert all(hdu.header[card] == alone[1][name].header[card] for card in others)
    final = tmp_path / "run/work/products/postprocess/gal/gal_7m+tp_co21_pbcorr_trimmed_k.fits"
    combined = fitsio.read_provenance(fits.getheader(final))["parameters"]["combined"]
    assert set(combined["stokes"]) == {"V"}
    assert "not_feathered" not in combined
    # The derived stage reads Stokes I of it.
    with FitsCube(final) as cube:
        data = alone[1][final.name].data
        assert cube.shape == data.shape
        np.testing.assert_array_equal(cube.rows(3, 7), data[:, 3:7])


def test_a_dish_of_stokes_i_only(alone: Mapping[int, dict[str, fits.PrimaryHDU]], tmp_path: Path) -> None:
    """I is feathered; V stays what the interferometer has seen, to the bit, and the record says so."""
    drop(tmp_path / "run", [1, 4], ORDERS[0], dish=[1])
    together = made(tmp_path / "run")
    feathered, mosaicked = (together[f"gal_{config}_co21_pbcorr_round.fits"].data for config in ("7m+tp", "7m"))
    assert feathered[0].tobytes() == alone[1]["gal_7m+tp_co21_pbcorr_round.fits"].data.tobytes()
    np.testing.assert_array_equal(feathered[1], mosaicked[1])
    assert together["gal_7m_co21_singledish.fits"].data.ndim == 3
    header = together["gal_7m+tp_co21_pbcorr_trimmed_k.fits"].header
    combined = fitsio.read_provenance(header)["parameters"]["combined"]
    assert combined["not_feathered"] == ["V"]
    assert "stokes" not in combined


def test_a_dish_of_more_than_the_interferometer(
    alone: Mapping[int, dict[str, fits.PrimaryHDU]], tmp_path: Path
) -> None:
    """Of a dish's I, Q, U and V only the wanted one is taken."""
    drop(tmp_path / "run", [1], ORDERS[1], dish=[1, 2, 3, 4])
    together = made(tmp_path / "run")
    name = "gal_7m+tp_co21_pbcorr_trimmed_k.fits"
    assert together[name].data.tobytes() == alone[1][name].data.tobytes()


def test_parts_of_unlike_parameters_are_refused(tmp_path: Path) -> None:
    drop(tmp_path / "run", [1, 4], ORDERS[0])
    data, header = fits.getdata(tmp_path / "run/gal_2.fits", header=True)
    header["CDELT4"] = 1.0
    fits.writeto(tmp_path / "run/gal_2.fits", data, header, overwrite=True)
    outcome = halves.run(tmp_path / "run", HERE, targets=("gal",))
    (letter,) = [letter for letter in outcome.failed if letter.unit == "postprocess/gal/7m/co21/mosaic"]
    assert "gal_1_7m_co21_pbcorr_round.fits has Stokes I, V" in letter.message
    assert "gal_2_7m_co21_pbcorr_round.fits has Stokes I, Q" in letter.message


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("of_response", [(), (1,), (1, 2, 3, 4), (4, 3, 2, 1)])
def test_a_field_of_four(order: tuple[str, str], of_response: tuple[int, ...], tmp_path: Path) -> None:
    """With one primary beam for all, or with as many, whatever their order."""
    header, noise = field()
    stokes = (1, 2, 3, 4)
    skies = {each: seen_as(noise, each) for each in stokes}
    beams = {each: np.full(noise.shape, 1 - 0.1 * (each if len(of_response) > 1 else 0), np.float32) for each in stokes}
    image = stacked(tmp_path / "i.fits", list(skies.values()), stokes, order, header)
    response = tmp_path / "pb.fits"
    if len(of_response) < 2:
        fits.writeto(response, beams[1], header)
    else:
        stacked(response, [beams[each] for each in of_response], of_response, ORDERS[0], header)
    together = both(image, response)
    for place, each in enumerate(stokes):
        fits.writeto(tmp_path / "one.fits", skies[each], header, overwrite=True)
        fits.writeto(tmp_path / "onepb.fits", beams[each], header, overwrite=True)
        for whole, own in zip(together, both(tmp_path / "one.fits", tmp_path / "onepb.fits"), strict=True):
            assert whole[place * len(own) : (place + 1) * len(own)].tobytes() == own.tobytes()


def both(image: Path, response: Path) -> tuple[np.ndarray, ...]:
    """The planes of the final cube, of its primary beam, of the round image and its weight."""
    with Planes(image, stokes="all") as opened, Planes(response, stokes="all") as pb:
        plan = planning.settle(opened, pb, planning.Settings(pblimit=0.2))
        final = np.stack(list(single_field.kelvin_planes(opened, pb, plan)))
        beam = np.stack(list(single_field.response_planes(opened, pb, plan)))
        sigmas: list[float] = []
        head, shape = rounded.grid(opened, plan)
        path = image.with_suffix(".round.fits")
        fitsio.write_cube(path, head, rounded.planes(opened, pb, plan, sigmas), shape, stokes=opened.stokes)
        with Planes(path, stokes="all") as made_round:
            weight = np.stack(list(rounded.weight_planes(made_round, opened, pb, plan, sigmas)))
            return final, beam, np.stack(list(made_round)), weight


def test_a_primary_beam_of_other_parameters_is_refused(tmp_path: Path) -> None:
    header, noise = field()
    image = stacked(tmp_path / "i.fits", [noise, noise], (1, 4), ORDERS[0], header)
    response = stacked(tmp_path / "pb.fits", [noise, noise], (1, 2), ORDERS[0], header)
    with pytest.raises(DataError, match="Stokes parameters"):
        both(image, response)


def with_table(path: Path, rows: Sequence[tuple[float, int, int]]) -> Path:
    """Add CASA's table of beams: major axis, channel, place on the Stokes axis."""
    values = [(major, 0.9, 0.0, channel, pol) for major, channel, pol in rows]
    columns = [
        fits.Column(label, form, array=np.array([row[place] for row in values]))
        for place, (label, form) in enumerate((("BMAJ", "E"), ("BMIN", "E"), ("BPA", "E"), ("CHAN", "J"), ("POL", "J")))
    ]
    fits.append(path, fits.BinTableHDU.from_columns(columns, name="BEAMS").data, fits.Header({"EXTNAME": "BEAMS"}))
    return path


@pytest.mark.parametrize("order", ORDERS)
def test_a_beam_for_every_plane(order: tuple[str, str], tmp_path: Path) -> None:
    """CASA lists beams by channel and parameter, in any order; edges are cut by the larger, I is read with its own."""
    header, noise = field((4, 30, 30))
    for card in ("BMAJ", "BMIN", "BPA"):
        del header[card]
    path = stacked(tmp_path / "i.fits", [noise, noise], (1, 2), order, header)
    major = {(channel, pol): 1.0 + 0.01 * channel + 0.1 * pol for channel in range(4) for pol in range(2)}
    major[0, 1] = 5.0
    with_table(path, [(width, *key) for key, width in reversed(major.items())])
    with Planes(path, stokes="all") as image:
        found = [beam.major_arcsec for beam in beams_of(image)]
        assert found == pytest.approx([major[channel, pol] for pol in range(2) for channel in range(4)])
        settings = planning.Settings(pblimit=0.2, cut_coarse_edges=True)
        plan = planning.settle(image, None, settings)
        assert plan.planes == (1, 4)
        assert plan.kept == [1, 2, 3, 5, 6, 7]
        assert plan.round_arcsec == pytest.approx(1.13)
    with FitsCube(path) as cube:
        assert [beam.major_arcsec for beam in cube.beams] == pytest.approx([major[channel, 0] for channel in range(4)])
    short = stacked(tmp_path / "short.fits", [noise, noise], (1, 2), order, header)
    with_table(short, [(1.0, channel, 0) for channel in range(3)])
    with Planes(short, stokes="all") as image, pytest.raises(CorruptInputError, match="8 planes but 6 beams"):
        beams_of(image)


@pytest.mark.parametrize("order", ORDERS)
def test_files_are_read_and_written_by_parameter(order: tuple[str, str], tmp_path: Path) -> None:
    """Any order in, the Stokes axis last out, also compressed; of several nothing is guessed."""
    header, noise = field()
    cubes = [seen_as(noise, each) for each in (1, 2, 3, 4)]
    path = stacked(tmp_path / "i.fits", cubes, (1, 2, 3, 4), order, header)
    with pytest.raises(DataError, match="4 planes"):
        Planes(path)
    with Planes(path, stokes="all") as image:
        assert (image.stokes, image.channels, image.shape) == ((1, 2, 3, 4), 5, (20, 40, 44))
        np.testing.assert_array_equal(np.stack(list(image)), np.concatenate(cubes))
        fitsio.write_cube(tmp_path / "o.fits", image.header, image, (5, 40, 44), stokes=image.stokes)
        assert "CTYPE4" not in image.header
    fitsio.tile_compress(path, tmp_path / "o.fits.fz")
    for out in (tmp_path / "o.fits", tmp_path / "o.fits.fz"):
        said = obscore.row(out, collection="c", obs_id="o", url="u", target="t", subtype="cube", level=2)
        assert (said["pol_states"], said["pol_xel"], said["em_xel"]) == ("/I/Q/U/V/", 4, 5)
        np.testing.assert_array_equal(fits.getdata(out), np.stack(cubes))
        with Planes(out, stokes="all") as again:
            assert again.stokes == (1, 2, 3, 4)
    with Planes(path, stokes="I") as image, FitsCube(path) as cube, FitsCube(tmp_path / "o.fits.fz") as packed:
        np.testing.assert_array_equal(np.stack(list(image)), noise)
        for opened in (cube, packed):
            np.testing.assert_array_equal(opened.rows(0, 40), noise)
            np.testing.assert_array_equal(opened.plane(3), noise[3])


def test_axes_that_make_no_sense(tmp_path: Path) -> None:
    header, noise = field()
    path = stacked(tmp_path / "i.fits", [noise, noise], (2, 4), ORDERS[0], header)
    with pytest.raises(DataError, match="Stokes Q, V and no I"):
        Planes(path, stokes="I")
    fits.setval(path, "CDELT4", value=0.0)
    with pytest.raises(DataError, match="2 planes of Stokes Q, Q"):
        Planes(path, stokes="all")
    with pytest.raises(DataError, match="no FITS axis holds Stokes I, Q, V"):
        fitsio.write_cube(tmp_path / "o.fits", header, [noise[0]] * 3, noise.shape[1:], stokes=(1, 2, 4))
    fits.setval(path, "CTYPE4", value="LINEAR")
    with pytest.raises(DataError, match="axis 4"):
        Planes(path, stokes="all")


def test_a_single_parameter_keeps_its_name(tmp_path: Path) -> None:
    """One plane of V is V afterwards too; a number that means nothing is taken for I."""
    header, noise = field()
    path = stacked(tmp_path / "i.fits", [noise], (4,), ORDERS[0], header)
    with Planes(path) as image:
        assert image.stokes == (4,)
        fitsio.write_cube(tmp_path / "o.fits", image.header, image, image.shape, stokes=image.stokes)
    assert fits.getheader(tmp_path / "o.fits")["CRVAL4"] == 4.0
    fits.setval(path, "CRVAL4", value=0.0)
    with Planes(path) as image:
        assert image.stokes == (1,)


def test_a_dish_of_another_parameter_is_refused(tmp_path: Path) -> None:
    header, noise = field()
    fits.writeto(tmp_path / "i.fits", noise, header)
    path = stacked(tmp_path / "tp.fits", [noise], (4,), ORDERS[0], header)
    with Planes(tmp_path / "i.fits") as image, Planes(path) as dish:
        with pytest.raises(DataError, match=r"tp.fits has Stokes V, the interferometer's .*i.fits I"):
            Aligned(SingleDish(dish), image)
        with pytest.raises(DataError, match="Stokes"):
            Feathering(image, image, dish, Settings())


def test_noise_grows_for_every_parameter_by_its_own(tmp_path: Path) -> None:
    """White noise of V grows by the beam's width, that of I, which is smooth already, does not (W-19)."""
    header, white = field((2, 60, 60))
    y, x = np.indices((60, 60))
    smooth = np.stack([np.sin(x / 9 + y / 7 + phase) for phase in (0, 1)]).astype(np.float32)
    path = stacked(tmp_path / "i.fits", [smooth, white], (1, 4), ORDERS[0], header)
    fits.writeto(tmp_path / "w.fits", np.ones_like(white), header)
    with Planes(path, stokes="all") as image, Planes(tmp_path / "w.fits") as weight:
        layout = mosaic.layout([image], mosaic.Settings(force_beam_arcsec=4.0))
        assert layout.stokes == (1, 4)
        part = mosaic.Part(image, weight, layout)
        assert part.noise_factors[0] > 2 * part.noise_factors[1]
        recorded = mosaic.record([part], layout)["noise_factors"]
        assert recorded == [part.noise_factors]
        planes = [weight for _, weight in mosaic.planes([part], layout)]
    for stokes in range(2):
        np.testing.assert_allclose(planes[2 * stokes], 1 / part.noise_factors[stokes] ** 2, rtol=1e-6)


def test_memory_does_not_grow_with_parameters(tmp_path: Path) -> None:
    """Four parameters pass through in the memory of two."""
    peaks, (header, noise) = [], field((6, 64, 64))
    for stokes in ((1, 2), (1, 2, 3, 4)):
        path = stacked(tmp_path / "i.fits", [abs(noise)] * len(stokes), stokes, ORDERS[1], header)
        tracemalloc.start()
        with Planes(path, stokes="all") as image:
            plan = planning.settle(image, None, planning.Settings(pblimit=0.0))
            for _ in single_field.kelvin_planes(image, None, plan):
                pass
            layout = mosaic.layout([image], mosaic.Settings())
            for _ in mosaic.planes([mosaic.Part(image, image, layout)], layout):
                pass
            for _ in Aligned(SingleDish(image), image):
                pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
