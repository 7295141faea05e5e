"""What the tests of the staging specification's weaknesses have in common: odd inputs, and looks into sets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fringeflow.graph.model import Graph
from fringeflow.graph.staging import add_units, read_recipe, unit_id
from fringeflow_staging import tasks
from fringeflow_staging.tables import open_table
from fringeflow_staging.windows import line_range_ghz
from tests.simulation import CO21_GHZ, Window, simulate_disc
from tests.staging.staged import BAND, DOT, SHORT
from tests.staging.test_staging_units import measurement, project

LINE = line_range_ghz(CO21_GHZ, 1000.0, 60.0)
FILLED = (Window(24, 2.5),)  # by a line that is excluded over 80 km/s


def cell(path, column, row=0, table=""):
    with open_table(path / table if table else path) as main:
        return main.getcell(column, row)


def noisy(path, sigmas, *, windows=BAND, watch=None, delivered=1.0, **changes):
    """Simulate, with noise of `sigmas[antenna]` on baselines with antenna `antenna` and weights that tell nothing."""
    truth = simulate_disc(path, replace(DOT, sigma_jy=1e-6, **changes), windows=windows, observation=watch or SHORT)
    random = np.random.default_rng(5)
    with open_table(path, writable=True) as main:
        first = main.getcol("ANTENNA1")
        sigma = np.array([sigmas.get(int(antenna), sigmas[None]) for antenna in first])
        data = main.getcol("DATA")
        data += sigma * (random.normal(size=data.shape) + 1j * random.normal(size=data.shape))
        main.putcol("DATA", data)
        main.putcol("WEIGHT", np.full((2, len(first)), delivered))
        main.putcol("SIGMA", np.full((2, len(first)), delivered**-0.5))
    return truth


def without_target_rows(path):
    """Simulate an execution that broke off before it came to the target: only the calibrator was seen."""
    whole = simulate_disc(path.with_suffix(".whole"), DOT, windows=BAND, observation=SHORT, calibrator_jy=1.0)
    tasks.run("split", whole.path, outputvis=str(path), field="calibrator", datacolumn="data")
    return replace(whole, path=path)


def recorded(monkeypatch):
    """Note every CASA task that is called, and go on."""
    calls = []
    run = tasks.run

    def noted(task, vis, **parameters):
        calls.append((task, vis, parameters))
        return run(task, vis, **parameters)

    monkeypatch.setattr(tasks, "run", noted)
    return calls


def with_overrides(**texts):
    of = project(measurement("12m"))
    return of.model_copy(update={"overrides": {"disc_1": {f"staging_{name}": text for name, text in texts.items()}}})


def recipe_of(of, product="co21", config="12m"):
    graph = Graph({"incoming/night/12m_1.ms": "0" * 64}, lambda *_: None)
    add_units(of, "disc_1", graph)
    return read_recipe(graph[unit_id("disc_1", config, product)].recipe)
