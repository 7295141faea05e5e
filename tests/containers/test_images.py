"""What is in the images, what is not, and under which restrictions they run."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.containers.conftest import Images
from tests.podman import SERVICES, Podman, image_of

pytestmark = [pytest.mark.containers, pytest.mark.xdist_group("containers"), pytest.mark.timeout(3600)]

RESTRICTED = (
    "--rm",
    "--read-only",
    "--read-only-tmpfs=false",
    "--network=none",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
)


def test_figures(podman: Podman, images: Images, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        for name, seconds in images.seconds.items():
            tag = image_of(name) if name in SERVICES else f"localhost/fringeflow-stand-in/{name}"
            megabytes = podman.inspect(tag)["Size"] / 1e6
            sys.stdout.write(f"\nimage {name}: {megabytes:.0f} MB, built in {seconds:.0f} s")


@pytest.mark.parametrize("service", SERVICES)
def test_no_layer_holds_a_secret(podman: Podman, images: Images, service: str) -> None:
    image = image_of(service)
    layers = podman.layers(image)
    assert layers
    found = subprocess.run(["grep", "-rlF", "--", images.canary, *layers], capture_output=True, text=True)
    assert found.returncode == 1, found.stdout or found.stderr
    assert images.canary not in podman("history", "--no-trunc", image) + json.dumps(podman.inspect(image))


@pytest.mark.parametrize("service", SERVICES)
def test_runs_as_nobody_on_a_read_only_root_without_a_network(podman: Podman, images: Images, service: str) -> None:
    assert podman.inspect(image_of(service))["User"] == "10001:10001"
    assert podman("run", *RESTRICTED, image_of(service), "--version").strip()
    look = "import importlib.metadata as m; print(*sorted(e.name for e in m.entry_points(group='fringeflow.stages')))"
    assert podman("run", *RESTRICTED, "--entrypoint=python", image_of(service), "-c", look).split() == [service]


@pytest.mark.parametrize("service", ["staging", "imaging"])
def test_casa_and_its_data_are_baked_in(podman: Podman, images: Images, service: str) -> None:
    """CASA knows where the Earth was and where the VLA is, without a network."""
    script = (
        "from pathlib import Path; from fringeflow.jobs import casa; casa.enable(Path('/scratch/casa')); casa.load(); "
        "from casatools import measures; me = measures(); me.doframe(me.observatory('VLA')); "
        "me.doframe(me.epoch('UTC', '2023/03/20')); me.doframe(me.direction('J2000', '12h', '-30d')); "
        "print(me.measure(me.frequency('TOPO', '230GHz'), 'LSRK')['m0']['value'])"
    )
    printed = podman("run", *RESTRICTED, "--entrypoint=python", image_of(service), "-c", script)
    assert 229e9 < float(printed.split()[-1]) < 231e9


@pytest.mark.parametrize("service", ["postprocess", "derived"])
def test_carries_no_casa(podman: Podman, images: Images, service: str) -> None:
    look = "import importlib.util as u; print([n for n in ('casatools', 'casatasks', 'casadata') if u.find_spec(n)])"
    assert podman("run", *RESTRICTED, "--entrypoint=python", image_of(service), "-c", look).strip() == "[]"
