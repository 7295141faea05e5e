from __future__ import annotations

import pytest

from fringeflow.slots import Slots


def test_a_job_with_several_cores_leaves_the_others_free():
    slots = Slots(cores=4, memory_mb=1000)
    slots.take("big", 500, cores=3)
    assert slots.free_cores == 1
    assert slots.free
    slots.take("small", 100)
    assert slots.free_cores == 0
    assert not slots.free
    assert not slots.fits(100)
    slots.release("big")
    assert slots.free_cores == 3
    assert slots.fits(900)
    assert not slots.fits(901)


@pytest.mark.parametrize(
    ("free", "most", "waiting", "wanted"),
    [(4, 8, 0, 4), (4, 2, 0, 2), (4, 8, 1, 2), (4, 8, 2, 2), (4, 8, 3, 1), (4, 8, 100, 1), (1, 8, 0, 1), (3, 8, 1, 2)],
)
def test_a_job_leaves_cores_to_those_that_wait(free, most, waiting, wanted):
    assert Slots(cores=free, memory_mb=1000).share(most, waiting) == wanted
