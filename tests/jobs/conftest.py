"""A host for jobs, and units for it to make."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fringeflow.graph.model import Unit, UnitId
from fringeflow.jobs.host import JobHost, JobRequest, TaskUnit
from fringeflow.manifest import Input
from fringeflow.store.objects import Store, StoreSettings, open_store

Order = Callable[..., JobRequest]


@pytest.fixture
def settings(tmp_path: Path) -> StoreSettings:
    """The settings of the store that jobs use."""
    return StoreSettings.of_folder(tmp_path / "store")


@pytest.fixture
def store(settings: StoreSettings) -> Store:
    """The store that jobs use."""
    return open_store(settings)


@pytest.fixture
def host(tmp_path: Path, settings: StoreSettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobHost]:
    """A host for jobs; afterwards none may have left anything in its scratch folder."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    with JobHost(tmp_path / "scratch", settings, log_folder=tmp_path / "logs") as entered:
        yield entered
        jobs = list((tmp_path / "scratch").glob("run-*/job-*"))
    assert jobs == []
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.fixture
def order() -> Order:
    """A function that writes a request to the fake stage."""

    def write(
        behaviour: str,
        *,
        inputs: tuple[Input, ...] = (),
        names: tuple[str, ...] = ("x",),
        stage: str = "fake",
        **limits: Any,
    ) -> JobRequest:
        tasks = tuple(
            TaskUnit(
                Unit(
                    id=UnitId(stage=stage, target="ngc5921", config="vla", product="hi21cm", step=name),
                    revision=1,
                    recipe={"behaviour": behaviour},
                    outputs=("out.txt",),
                ),
                work_key=name * 64,
                inputs=inputs,
                facts={"fake/a/b/c": {"cell": 15.0}},
                ancestors={"incoming/a.ms": "0" * 64},
            )
            for name in names
        )
        return JobRequest(stage, tasks, make="fake_stage:make", **limits)

    return write
