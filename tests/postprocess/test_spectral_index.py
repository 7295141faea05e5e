"""Spectral indices of continuum mosaics and fields whose spectra are known (W-22)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io import fits

from fringeflow import fitsio, names
from fringeflow.embedded import EmbeddedRun, Outcome
from fringeflow.graph import postprocess
from fringeflow.graph.build import Selection
from fringeflow.graph.model import Graph, Lookup, Unit, UnitId
from fringeflow.graph.taylor import beam_slope
from fringeflow.keys.model import ContProduct, FeatherConfig, Project
from fringeflow.settings import JobSettings
from fringeflow.workdir import Workdir
from fringeflow.world import Observer
from fringeflow_postprocess import noise
from fringeflow_postprocess.sky import Sky
from fringeflow_postprocess.spectral_index import LEAST_SNR, corrected_term
from tests.postprocess import halves

HERE = SkyCoord(150.0, -30.0, unit="deg")
SHAPE = (140, 130)
SIGMAS = (1e-3, 4e-3)
"""Noise of the two terms, in Jy/beam."""

SOURCES = (
    (0.0, 0.0, 4.0, 2.0, -0.7),
    (90.0, 24.0, 3.0, 2.0, 1.5),
    (270.0, 24.0, 3.0, 2.0, -2.0),
    (0.0, 18.0, 3.0, 2.0, 0.3),
)
"""Direction and distance (degrees, arcsec) from the middle, size (arcsec), flux (Jy), spectral index."""

EXTS = ("", "tt1", "pb", "alpha")


def sky(grid: Sky) -> tuple[np.ndarray, np.ndarray]:
    """Both Taylor terms of the sky, in Jy/beam."""
    y, x = np.indices(grid.shape)
    points, terms = grid.wcs.pixel_to_world(x, y), np.zeros((2, *grid.shape))
    for direction, distance, size, flux, alpha in SOURCES:
        place = HERE.directional_offset_by(direction * units.deg, distance * units.arcsec)
        width2 = size**2 + halves.BEAM**2
        shape = np.exp(-4 * math.log(2) * points.separation(place).arcsec ** 2 / width2)
        terms += np.array([1, alpha])[:, None, None] * flux * halves.BEAM**2 / width2 * shape
    return terms[0], terms[1]


def drop(folder: Path, *, slope: float, correlation: float = 0.0) -> None:
    """Write what imaging makes of two halves of one sky, through beams of 50 arcsec whose width is the wavelength's."""
    rng = np.random.default_rng(3)
    for number, name in enumerate(halves.HALVES):
        place = HERE.directional_offset_by((90, 270)[number] * units.deg, 14 * units.arcsec)
        header = halves.header_at(place, (1, *SHAPE), halves.PIXEL, halves.BEAM, "Jy/beam")
        for card in [card for card in header if card.endswith("3")]:
            del header[card]
        y, x = np.indices(SHAPE)
        r2 = (x - SHAPE[1] // 2) ** 2 + (y - SHAPE[0] // 2) ** 2
        response = np.exp(-4 * math.log(2) * r2 * (halves.PIXEL / 50) ** 2)
        inside = response >= 0.25
        zeroth, first = sky(Sky.of(header, SHAPE))
        white = rng.normal(size=(2, *SHAPE))
        white[1] = correlation * white[0] + math.sqrt(1 - correlation**2) * white[1]
        data = {
            "": response * zeroth + SIGMAS[0] * (1 + number) * white[0],
            "tt1": response * (first + slope * np.log(response) * zeroth) + SIGMAS[1] * (1 + number) * white[1],
            "pb": response,
        }
        data["alpha"] = np.where(data[""] > 0.05, data["tt1"] / data[""], np.nan)
        for ext, plane in data.items():
            path = folder / f"{name}_{ext}.fits"
            fits.writeto(path, np.where(inside, plane, np.nan).astype(np.float32), header)


def project(folder: Path) -> Project:
    return halves.project(folder, HERE).model_copy(
        update={"line_products": {}, "cont_products": {"cont": ContProduct(name="cont")}, "recipes": {}}
    )


def builder(gridder: str = "standard", exts: tuple[str, ...] = EXTS) -> object:
    def build(project: Project, target: str, leaves: Mapping[str, str], lookup: Lookup) -> Graph:
        graph = Graph(leaves, lookup)
        for name in (*project.targets[target].mosaic_parts, target):
            if name in halves.HALVES:
                outputs = tuple(names.cube(name, "7m", "cont", ext) for ext in exts)
                files = tuple(f"incoming/{name}_{ext}.fits" for ext in exts)
                recipe = {"tclean": {"gridder": gridder}}
                unit = UnitId("imaging", name, "7m", "cont")
                graph.add(Unit(id=unit, revision=1, recipe=recipe, leaves=files, outputs=outputs, fact="cube.imaged"))
            postprocess.add_units(project, name, graph)
        return graph

    return build


def run(folder: Path, **options: object) -> Outcome:
    return EmbeddedRun(
        project(folder),
        Workdir(folder / "work"),
        Selection(targets=()),
        Observer(),
        jobs=JobSettings(count=1),
        builder=builder(**options),  # type: ignore[arg-type]
        make="tests.postprocess.halves_stage:make",
    ).run()


def product(folder: Path, name: str, ext: str) -> tuple[np.ndarray, fits.Header]:
    return fits.getdata(folder / f"work/products/postprocess/gal/{name}_7m_cont_{ext}.fits", header=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    drop(folder, slope=2.0, correlation=0.5)
    outcome = run(folder)
    assert outcome.complete, outcome
    return folder


def test_a_mosaic_has_the_index_of_the_sky(made: Path) -> None:
    """At the middle of every source and over all that is bright, in the overlap of the parts and beyond it."""
    alpha, header = product(made, "gal", "trimmed_alpha")
    error, own = product(made, "gal", "trimmed_alpha_error")
    assert (header["BTYPE"], own["BTYPE"], header["BUNIT"]) == ("Spectral index", "Spectral index error", "")
    assert header["BMAJ"] * 3600 == pytest.approx(halves.BEAM)
    grid = Sky.of(header, alpha.shape)
    zeroth, first = sky(grid)
    for direction, distance, _, _, truth in SOURCES:
        place = HERE.directional_offset_by(direction * units.deg, distance * units.arcsec)
        x, y = (round(float(value)) for value in grid.wcs.world_to_pixel(place))
        assert alpha[y, x] == pytest.approx(truth, abs=4 * error[y, x])
        assert error[y, x] < 0.06
    found = np.isfinite(alpha)
    np.testing.assert_array_equal(found, np.isfinite(error))
    # The fields are dithered against each other, so interpolation takes some of the noise away.
    pulls = ((alpha - first / np.where(found, zeroth, 1)) / error)[found & (zeroth > 0.05)]
    assert len(pulls) > 500
    assert abs(np.median(pulls)) < 0.15
    assert np.subtract(*np.percentile(pulls, (84, 16))) / 2 == pytest.approx(1, abs=0.2)


def test_it_is_blank_where_the_image_is_faint(made: Path) -> None:
    """Below five times the noise there, which is that of the map itself, and nowhere else."""
    alpha, header = product(made, "gal", "trimmed_alpha")
    image, of_image = product(made, "gal", "pbcorr_trimmed_k")
    response, _ = product(made, "gal", "trimmed_pb")
    jansky = (image / of_image["JYTOK"]).astype(np.float32)
    sigma = noise.flat_noise(jansky, response)
    assert 0 < sigma < 2 * SIGMAS[0]
    clearly = abs(jansky * response / sigma - LEAST_SNR) > 0.01
    np.testing.assert_array_equal(np.isfinite(alpha)[clearly], (jansky * response > LEAST_SNR * sigma)[clearly])
    assert 0.02 < np.isfinite(alpha).mean() < 0.5
    assert fitsio.read_provenance(header)["parameters"]["least_snr"] == LEAST_SNR


def test_terms_have_the_weights_of_the_image(made: Path) -> None:
    """In the overlap of two fields of unequal noise, the term is their mean with the weights of the image."""
    image, header = product(made, "gal", "pbcorr_round")
    term, _ = product(made, "gal", "pbcorr_round_tt1")
    np.testing.assert_array_equal(np.isfinite(image), np.isfinite(term))
    zeroth, first = sky(Sky.of(header, image.shape))
    weight, _ = product(made, "gal", "weight")
    best = weight > 0.5 * np.nanmax(weight)
    assert np.std((image - zeroth)[best] * np.sqrt(weight[best])) < 1.05
    ratio = np.std((term - first)[best]) / np.std((image - zeroth)[best])
    assert ratio == pytest.approx(SIGMAS[1] / SIGMAS[0], rel=0.1)


def test_a_field_by_itself_loses_the_slope_of_its_primary_beam(made: Path) -> None:
    for name in halves.HALVES:
        alpha, header = product(made, name, "trimmed_alpha")
        zeroth, first = sky(Sky.of(header, alpha.shape))
        bright = np.isfinite(alpha) & (zeroth > 0.2)
        response, _ = product(made, name, "trimmed_pb")
        assert response[bright].min() < 0.55
        np.testing.assert_allclose(alpha[bright], first[bright] / zeroth[bright], atol=0.3)


def test_pointings_gridded_together_are_left_alone(tmp_path: Path) -> None:
    """Their response does not tell the slope; with conjugate beams, as here, there is none."""
    drop(tmp_path, slope=0.0)
    assert run(tmp_path, gridder="mosaic").complete
    alpha, header = product(tmp_path, "gal", "trimmed_alpha")
    zeroth, first = sky(Sky.of(header, alpha.shape))
    bright = np.isfinite(alpha) & (zeroth > 0.2)
    np.testing.assert_allclose(alpha[bright], first[bright] / zeroth[bright], atol=0.2)
    made_of = fitsio.read_provenance(product(tmp_path, "gal_1", "trimmed_alpha")[1])["parameters"]
    assert made_of["beam_slope"] == 0.0


@pytest.mark.parametrize(("gridder", "slope"), [("standard", 2.0), ("wproject", 2.0), ("mosaic", 0.0), ("awp2", 0.0)])
def test_which_slope_a_gridder_leaves(gridder: str, slope: float) -> None:
    unit = Unit(id=UnitId("imaging", "g", "7m", "cont"), revision=1, recipe={"tclean": {"gridder": gridder}})
    assert beam_slope(unit) == slope


def test_the_slope_of_a_gaussian_beam_is_two_times_its_logarithm() -> None:
    """A sky of index 0.4 through beams at neighbouring frequencies: their Taylor terms give the sky's back."""
    radius = np.linspace(0, 1, 50)[None]
    step, (low, middle, high) = 1e-3, (np.exp(-((nu * radius) ** 2)) * nu**0.4 for nu in (1 - 1e-3, 1.0, 1 + 1e-3))
    term = ((high - low) / (2 * step)).astype(np.float32)
    response = np.exp(-(radius**2)).astype(np.float32)
    result = corrected_term(term, middle.astype(np.float32), response, 0.0, 2.0)
    np.testing.assert_allclose(result, 0.4, atol=2e-5)


class TestUnits:
    def graph(self, folder: Path, exts: tuple[str, ...], **update: object) -> Graph:
        asked = project(folder).model_copy(update=update)
        graph = builder(exts=exts)(asked, "gal", {}, lambda unit, key: None)  # type: ignore[operator]
        assert isinstance(graph, Graph)
        return graph

    def outputs(self, graph: Graph, unit: str) -> list[str]:
        return [name.removesuffix(".fits").split("cont_")[1] for name in graph[UnitId.parse(unit)].outputs]

    def test_with_terms(self, tmp_path: Path) -> None:
        graph = self.graph(tmp_path, EXTS)
        assert self.outputs(graph, "postprocess/gal_1/7m/cont/round") == ["pbcorr_round", "weight", "pbcorr_round_tt1"]
        assert self.outputs(graph, "postprocess/gal/7m/cont/mosaic") == ["pbcorr_round", "weight", "pbcorr_round_tt1"]
        finals = ["pbcorr_trimmed_k", "trimmed_pb", "trimmed_alpha", "trimmed_alpha_error"]
        assert self.outputs(graph, "postprocess/gal/7m/cont") == finals
        assert self.outputs(graph, "postprocess/gal_1/7m/cont") == finals[:3]

    def test_without(self, tmp_path: Path) -> None:
        graph = self.graph(tmp_path, ("", "pb"))
        assert self.outputs(graph, "postprocess/gal_1/7m/cont/round") == ["pbcorr_round", "weight"]
        assert self.outputs(graph, "postprocess/gal/7m/cont") == ["pbcorr_trimmed_k", "trimmed_pb"]
        assert "beam_slope" not in graph[UnitId.parse("postprocess/gal_1/7m/cont/round")].recipe

    def test_a_feather_has_none(self, tmp_path: Path) -> None:
        """A single dish has measured no first-order term."""
        targets = {
            name: target.model_copy(update={"singledish": {"cont": "tp.fits"}})
            for name, target in project(tmp_path).targets.items()
        }
        feathers = {"7m+tp": FeatherConfig(name="7m+tp", interf_config="7m")}
        graph = self.graph(tmp_path, EXTS, targets=targets, feather_configs=feathers)
        assert self.outputs(graph, "postprocess/gal/7m+tp/cont") == ["pbcorr_trimmed_k", "trimmed_pb"]
        assert "trimmed_alpha" in self.outputs(graph, "postprocess/gal/7m/cont")
