"""A clean that was killed is gone on with, wherever it was, to the same bits (weakness W5)."""

from __future__ import annotations

import shutil
import time

import numpy as np
import pytest

from fringeflow.graph.model import UnitId
from fringeflow.jobs.host import JobHost, JobRequest, TaskUnit
from fringeflow.jobs.unfinished import Unfinished
from fringeflow.manifest import Input
from fringeflow.store.artefacts import fetch, folder_of, upload
from fringeflow.store.objects import open_store
from fringeflow.store.settings import StoreSettings
from fringeflow_imaging import gridding
from fringeflow_imaging.automask import AutoMask, Thresholds
from fringeflow_imaging.channel import Channel
from fringeflow_imaging.checkpoint import Checkpoint
from fringeflow_imaging.loop import clean
from fringeflow_imaging.minor import CycleControl, Scales
from fringeflow_imaging.stopping import Stopping
from tests.imaging.planes import SIZE, make_psf, noise_plane, seen
from tests.simulation import Observation, Truth, Window, simulate_disc

BEAM = (5.8, 5.8, 0.0)


class Killed(BaseException):
    """What no code of ours catches."""


class OnDisk:
    """Keeps one file in a folder, after every cycle."""

    def __init__(self, folder):
        self.kept = folder / "kept"

    def due(self):
        return True

    def save(self, path):
        shutil.copy(path, self.kept)

    def load(self, path):
        if self.kept.exists():
            shutil.copy(self.kept, path)
        return self.kept.exists()


@pytest.fixture(scope="module")
def block():
    """Five channels: extended, faint, noise, without data, and one whose mask is empty."""
    psf = make_psf()
    sky = np.zeros((5, SIZE, SIZE))
    sky[0, 40:56, 40:56], sky[0, 20, 70], sky[1, 48, 20], sky[1, 48, 76] = 3.0, 90.0, 60.0, 20.0
    dirty = np.array([seen(plane, psf) + noise_plane(psf, i) for i, plane in enumerate(sky)], dtype=np.float32)
    psfs, masks = np.array([psf] * 5), np.ones((5, SIZE, SIZE), dtype=bool)
    psfs[3], dirty[3], masks[4] = 0, 0, False
    return dirty, psfs, masks


class Clean:
    """One attempt, which may be killed in a major cycle; counts these."""

    def __init__(self, block, folder, *, killed_in=None, diverging=False, automask=False, **stopping):
        self.block, self.killed_in, self.diverging, self.cycles = block, killed_in, diverging, 0
        self.automask, self.stopping = automask, Stopping(snr=2.0, **stopping)
        self.checkpoint = None if folder is None else Checkpoint(folder / "draft.npz", OnDisk(folder))

    def residual_of(self, model):
        self.cycles += 1
        if self.cycles == self.killed_in:
            raise Killed
        dirty, psfs, _ = self.block
        residual = np.array([d - seen(m, p) for d, m, p in zip(dirty, model, psfs, strict=True)], dtype=np.float32)
        if self.diverging:  # ever more, the more is in the model
            residual[0] += np.float32(0.004) * model[0].sum() * dirty[0]
        return residual

    def run(self):
        dirty, psfs, masks = self.block
        found = [AutoMask(mask, Thresholds(sidelobethreshold=2.0), 0.1, BEAM, 1.0) for mask in masks]
        return clean(
            (np.zeros_like(dirty), dirty),
            psfs,
            masks,
            np.ones_like(masks),
            self.residual_of,
            scales=Scales((0, 4), 0.6, alike=True),
            control=CycleControl(cyclefactor=3.0, minpsffraction=0.5, cycleniter=60),
            sidelobes=[0.1] * 5,
            stopping=self.stopping,
            automasks=found if self.automask else (),
            checkpoint=self.checkpoint,
        )


def test_w5_what_cycles_took_stays_in_their_order(block):
    dirty, psfs, masks = block

    def channel():
        control = CycleControl(cyclefactor=3.0, minpsffraction=0.5, cycleniter=60)
        stopping = Stopping(snr=2.0, noise_z=2.0, patience=12)
        return Channel(
            0, psfs[0], masks[0], np.ones_like(masks[0]), Scales((0,), 0.6), control, 0.1, stopping, automask=None
        )

    before, after = channel(), channel()
    before.look(np.zeros_like(dirty[0]), dirty[0])
    for number in range(12):
        before.noise_test.add(np.full((1, 4), number, np.float32))
    after.go_on_from(before.state())
    assert [layer[0, 0] for layer in after.noise_test.taken] == list(range(12))


@pytest.mark.parametrize(
    "how", [{}, {"noise_z": 2.0}, {"automask": True}, {"diverging": True}], ids=lambda how: next(iter(how), "plain")
)
def test_w5_killed_in_any_cycle_it_goes_on_from_there_to_the_same_bits(block, tmp_path, how):
    whole = Clean(block, None, **how)
    wanted = whole.run()
    assert whole.cycles > 4
    assert ("diverged" in wanted.reasons) == ("diverging" in how)
    for moment in range(1, whole.cycles + 1):
        folder = tmp_path / str(moment)
        folder.mkdir()
        with pytest.raises(Killed):
            Clean(block, folder, killed_in=moment, **how).run()
        second = Clean(block, folder, **how)
        got = second.run()
        assert second.cycles == whole.cycles - moment + 1
        assert np.array_equal(got.model, wanted.model)
        assert np.array_equal(got.residual, wanted.residual)
        assert np.array_equal(got.masks, wanted.masks)
        assert (got.rows, got.reasons) == (wanted.rows, wanted.reasons)
        assert [path.name for path in folder.iterdir()] == ["kept"]


def test_w5_a_damaged_state_is_not_gone_on_from(block, tmp_path):
    whole = Clean(block, None)
    wanted = whole.run()
    with pytest.raises(Killed):
        Clean(block, tmp_path, killed_in=4).run()
    kept = tmp_path / "kept"
    content = bytearray(kept.read_bytes())
    for damaged in (content[: len(content) // 2], bytes(len(content)), content[:5000] + b"\xff" + content[5001:]):
        kept.write_bytes(bytes(damaged))
        again = Clean(block, tmp_path)
        assert np.array_equal(again.run().model, wanted.model)
        assert again.cycles == whole.cycles


UNIT = UnitId(stage="imaging", target="disc", config="7m", product="co", step="multiscale.0-1")


def unfinished(store, key="ab" * 32, every=0.0, **software):
    return Unfinished(store, UNIT, key, software={"casatools": "6.7", **software}, every_seconds=every)


def test_w5_what_is_kept_is_that_of_one_work_key_and_one_software(tmp_path):
    store = open_store(StoreSettings.of_folder(tmp_path / "store"))
    state, found = tmp_path / "state", tmp_path / "found"
    state.write_text("cycle 7")
    unfinished(store).save(state)
    assert unfinished(store).load(found)
    assert found.read_text() == "cycle 7"
    assert not unfinished(store, key="cd" * 32).load(tmp_path / "other")
    assert not unfinished(store, casatools="6.8").load(tmp_path / "other")
    state.write_text("cycle 8")
    unfinished(store).save(state)
    assert unfinished(store).load(found)
    assert found.read_text() == "cycle 8"
    (lies,) = store.list(folder_of(UNIT, "ab" * 32))  # what is there and in no manifest goes with the commit
    assert "/unfinished/" in lies.key


def test_w5_states_are_not_kept_more_often_than_asked(tmp_path):
    store = open_store(StoreSettings.of_folder(tmp_path / "store"))
    assert unfinished(store).due()
    seldom = unfinished(store, every=0.2)
    assert not seldom.due()
    time.sleep(0.25)
    assert seldom.due()
    (tmp_path / "state").touch()
    seldom.save(tmp_path / "state")
    assert not seldom.due()


def test_w5_a_store_that_takes_nothing_stops_nobody(tmp_path):
    store = open_store(StoreSettings.of_folder(tmp_path / "store"))
    store.put_bytes(f"{folder_of(UNIT, 'ab' * 32)}/unfinished", b"in the way")
    (tmp_path / "state").touch()
    unfinished(store).save(tmp_path / "state")
    assert not any(info.key.count("unfinished/") for info in store.list("artefacts"))


@pytest.fixture(scope="module")
def truth(casa_ready, tmp_path_factory):
    sky = Truth(line_flux_jykms=60.0, size_arcsec=3.0, dispersion_kms=5.0, sigma_jy=0.03)
    watch = Observation(n_times=6, n_antennas=10, longest_m=120.0)
    ms = tmp_path_factory.mktemp("ms") / "disc.ms"
    return simulate_disc(ms, sky, windows=(Window(n_channels=3, channel_kms=9.0),), observation=watch)


def test_w5_a_job_that_is_killed_is_gone_on_with_by_the_next(truth, make_project, make_graph, tmp_path):
    settings = StoreSettings.of_folder(tmp_path / "store")
    store, made = open_store(settings), {}
    sizes = {"cell": 0.5, "deltara": 48, "deltadec": 48, "block_channels": 3}
    wanted = make_project(overrides=sizes, multiscale={"minpsffraction": 0.7, "gain": 0.05})
    staged = UnitId(stage="staging", target="disc", config="7m", product="co")
    name = make_graph(wanted)[staged].outputs[0]
    artefacts = upload(store, staged, "5a" * 32, {name: truth.path})
    visibilities = Input(source=str(staged), work_key="5a" * 32, artefacts=artefacts)

    def request(step, attempt):
        graph = make_graph(wanted, made=made)
        unit = UnitId(stage="imaging", target="disc", config="7m", product="co", step=step)
        facts = {str(need.unit): graph.facts(need.unit) or {} for need in graph[unit].needs}
        task = TaskUnit(graph[unit], graph.key(unit), inputs=(visibilities,), facts=facts)
        return JobRequest("imaging", (task,), attempt=attempt)

    def pixels(result, folder):
        (artefact,) = result.outputs
        images = fetch(store, artefact, folder)
        return [gridding.read_pixels(images / f"block.{kind}") for kind in ("model", "residual", "psf")]

    def record(result):
        return {key: value for key, value in result.facts.items() if key != "seconds"}

    def log(attempt):
        return (tmp_path / "logs" / f"imaging_disc_7m_co_multiscale.0-2.{attempt}.log").read_text()

    with JobHost(tmp_path / "scratch", settings, log_folder=tmp_path / "logs", checkpoint_seconds=0) as host:
        plan = request("plan", 1)
        made[plan.tasks[0].work_key] = host.start(plan).result().results[0].facts
        below = folder_of(UNIT, request("multiscale.0-2", 1).tasks[0].work_key)
        (whole,) = host.start(request("multiscale.0-2", 1)).result().results
        assert "gone on with" not in log(1)
        store.delete([info.key for info in store.list(below) if "/unfinished/" in info.key])
        job = host.start(request("multiscale.0-2", 2))
        seen_states, ends = set(), time.monotonic() + 120
        while len(seen_states) < 3 and not job.done and time.monotonic() < ends:
            seen_states |= {info.etag for info in store.list(below) if "/unfinished/" in info.key}
            time.sleep(0.002)
        job.stop()
        assert len(seen_states) == 3
        (again,) = host.start(request("multiscale.0-2", 3)).result().results
    assert "gone on with" in log(3)
    assert len(whole.facts["record"]["rows"]) > 12
    assert record(again) == record(whole)
    for ours, theirs in zip(pixels(again, tmp_path / "a"), pixels(whole, tmp_path / "b"), strict=True):
        assert np.array_equal(ours, theirs)
