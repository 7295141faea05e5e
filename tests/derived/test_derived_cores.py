from __future__ import annotations

import numpy as np
import pytest

from fringeflow_derived import convolved, maps, packed, products, samples, sources
from fringeflow_derived.kinds import KINDS
from fringeflow_derived.noise import NoiseOptions
from tests.derived.derived_support import beam_noise, galaxy, header, write

SHAPE = (16, 60, 50)
MAPS = [(kind, mask) for kind in KINDS for mask in ("strict", "broad")]


def stage(cube, folder, cores):
    """Make every kind of product of `cube` in `folder` and return the files."""
    folder.mkdir()
    smooth, coverage, image = (folder / f"{name}.fits" for name in ("smooth", "coverage", "coverage2d"))
    convolved.convolve(cube, smooth, coverage, image, fwhm_arcsec=7.0, cores=cores)
    noise, strict, broad = (folder / f"{name}.fits" for name in ("noise", "strict", "broad"))
    products.noise(smooth, noise, folder, options=NoiseOptions(iterations=1), cores=cores)
    products.strict_mask(smooth, noise, strict, folder, coverage=coverage, cores=cores)
    products.broad_mask(strict, [strict], broad)
    wanted = [
        maps.Request(kind, mask, folder / f"{mask}_{kind}.fits", folder / f"{mask}_e{kind}.fits") for kind, mask in MAPS
    ]
    maps.write(smooth, noise, {"strict": strict, "broad": broad}, wanted, cores=cores)
    return sorted(folder.glob("*.fits"))


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    v_kms = 100 + 2.5 * np.arange(SHAPE[0])
    data = 0.2 * beam_noise(np.random.default_rng(2), SHAPE, 5.0) + galaxy(SHAPE, v_kms, peak=2.0)
    data[:, :4] = np.nan
    return write(tmp_path_factory.mktemp("cores") / "cube.fits", data, header())


@pytest.fixture(scope="module")
def alone(cube, tmp_path_factory):
    return stage(cube, tmp_path_factory.mktemp("alone") / "made", 1)


@pytest.mark.parametrize(("cores", "block_bytes"), [(2, 64_000_000), (1, 200_000), (3, 90_000)])
def test_no_byte_depends_on_the_number_of_cores_or_the_size_of_blocks(
    cube, alone, cores, block_bytes, tmp_path, monkeypatch
):
    monkeypatch.setattr(sources, "BLOCK_BYTES", block_bytes)
    made = stage(cube, tmp_path / "made", cores)
    assert [path.name for path in made] == [path.name for path in alone]
    different = [path.name for path, other in zip(made, alone, strict=True) if path.read_bytes() != other.read_bytes()]
    assert not different
    assert len(made) == 6 + 2 * len(MAPS)


def test_no_byte_depends_on_what_is_kept_in_memory(cube, alone, tmp_path, monkeypatch):
    monkeypatch.setattr(packed, "MOST_VOXELS", 0)
    monkeypatch.setattr(samples, "_KEPT_BYTES", 0)
    made = stage(cube, tmp_path / "made", 2)
    assert [path.read_bytes() for path in made] == [path.read_bytes() for path in alone]
    assert not list((tmp_path / "made").glob(".mask*"))
