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


def test_without_casa_an_image_is_half_the_size(
    podman: Podman, images: Images, capsys: pytest.CaptureFixture[str]
) -> None:
    tags = {
        name: image_of(name) if name in SERVICES else f"localhost/fringeflow-stand-in/{name}" for name in images.seconds
    }
    megabytes = {name: podman.inspect(tag)["Size"] / 1e6 for name, tag in tags.items()}
    with capsys.disabled():
        for name, seconds in images.seconds.items():
            sys.stdout.write(f"\nimage {name}: {megabytes[name]:.0f} MB, built in {seconds:.0f} s")
    with_casa, without = (megabytes["staging"], megabytes["imaging"]), (megabytes["postprocess"], megabytes["derived"])
    assert max(without) < 0.5 * min(with_casa)


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
