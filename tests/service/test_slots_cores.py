from __future__ import annotations

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
