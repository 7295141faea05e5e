"""Minor cycles on planes whose sky is known."""

import numpy as np
import pytest
from scipy.signal import fftconvolve

from fringeflow_imaging.minor import Cleaner, CycleControl, Scales, component, convolve

SIZE = 96
DEEP = CycleControl(gain=0.1, cyclefactor=0.0, minpsffraction=0.0, maxpsffraction=0.8, cycleniter=5000)


@pytest.fixture(scope="module")
def psf():
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE // 2
    r = np.hypot(x, y)
    return (np.exp(-(r**2) / 8.0) + 0.1 * np.cos(r / 3.0) * np.exp(-(r**2) / 900.0)).astype(np.float32) / np.float32(
        1.1
    )


def seen(sky, psf):
    """The sky as the dirty beam shows it, without wrapping."""
    return fftconvolve(sky, psf, mode="full")[SIZE // 2 : SIZE // 2 + SIZE, SIZE // 2 : SIZE // 2 + SIZE].astype(
        np.float32
    )


def test_components_have_unit_sum_and_their_radius():
    for radius in (1, 5, 14):
        shape = component(radius)
        assert shape.sum() == pytest.approx(1.0, rel=1e-5)
        assert shape.shape == (2 * radius + 1,) * 2
        assert shape[0].max() == 0.0
    assert component(0).tolist() == [[1.0]]


def test_convolution_moves_nothing_and_wraps_nothing():
    plane = np.zeros((20, 30), dtype=np.float32)
    plane[0, 4] = 2.0
    smooth = convolve(plane, component(3))
    assert np.unravel_index(smooth.argmax(), smooth.shape) == (0, 4)
    assert np.abs(smooth[10:]).max() < 1e-6


def test_point_sources_are_found_where_and_as_strong_as_they_are(psf):
    sky = np.zeros((SIZE, SIZE), dtype=np.float32)
    sky[40, 50], sky[55, 42], sky[45, 60] = 1.0, 0.5, -0.3
    model, count = Cleaner(psf, np.ones((SIZE, SIZE), dtype=bool)).run(seen(sky, psf), DEEP, 0.01)
    assert count < 200
    for y, x in ((40, 50), (55, 42), (45, 60)):
        assert model[y - 1 : y + 2, x - 1 : x + 2].sum() == pytest.approx(sky[y, x], abs=0.03)


def test_what_is_left_is_the_image_less_the_model_seen(psf):
    rng = np.random.default_rng(1)
    sky = np.zeros((SIZE, SIZE), dtype=np.float32)
    sky[36:60, 36:60] = rng.random((24, 24))
    image = seen(sky, psf)
    cleaner = Cleaner(psf, np.ones((SIZE, SIZE), dtype=bool), Scales((0, 3, 6), 0.5))
    model, _ = cleaner.run(image, DEEP, 0.3)
    assert cleaner.peak(image - seen(model, psf)) == pytest.approx(0.3, rel=0.1)


def test_extended_emission_takes_few_components_of_its_size(psf):
    sky = np.zeros((SIZE, SIZE), dtype=np.float32)
    sky[48, 48] = 20.0
    sky = convolve(sky, component(9))
    image = seen(sky, psf)
    everywhere = np.ones((SIZE, SIZE), dtype=bool)
    points, many = Cleaner(psf, everywhere).run(image, DEEP, 0.02 * image.max())
    wide, few = Cleaner(psf, everywhere, Scales((0, 4, 9), 0.3)).run(image, DEEP, 0.02 * image.max())
    assert few < many / 3
    assert wide.sum() == pytest.approx(20.0, rel=0.06)
    assert np.abs(wide - sky).max() < 0.3 * np.abs(points - sky).max()


@pytest.mark.parametrize("bias", [0.0, 0.6, 0.9])
def test_a_threshold_is_of_every_scale_alike_whatever_is_preferred(psf, bias):
    """Faint wide emission: a preference for small components must not leave it at a multiple of the threshold."""
    rng = np.random.default_rng(2)
    sky = np.zeros((SIZE, SIZE), dtype=np.float32)
    sky[44, 50] = 6.0
    sky = convolve(sky, component(14)) + convolve(sky, component(8))
    image = seen(sky + 0.01 * rng.normal(size=sky.shape), psf)
    everywhere = np.ones((SIZE, SIZE), dtype=bool)
    sizes, threshold = (0, 4, 9, 14), 0.15
    fair = Cleaner(psf, everywhere, Scales(sizes, 0.0))  # without a preference heights are significances
    left = {}
    for alike in (True, False):
        model, _ = Cleaner(psf, everywhere, Scales(sizes, bias, alike=alike)).run(image, DEEP, threshold)
        left[alike] = fair.peak(image - seen(model, psf))
    assert left[True] == pytest.approx(threshold, rel=0.1)
    if bias:
        assert left[False] > 1.3 * left[True]
    else:
        assert left[False] == left[True]


def test_what_only_stands_out_at_a_large_scale_is_not_made_of_points(psf):
    """Else a preference for points would have the noise cleaned wherever wide emission is above the threshold."""
    sky = np.zeros((SIZE, SIZE), dtype=np.float32)
    sky[48, 48] = 20.0
    image = seen(convolve(sky, component(14)), psf)
    everywhere = np.ones((SIZE, SIZE), dtype=bool)
    threshold = 1.1 * float(np.abs(image).max())
    assert Cleaner(psf, everywhere).run(image, DEEP, threshold)[1] == 0
    wide = Cleaner(psf, everywhere, Scales((0, 14), 0.9, alike=True))
    assert wide.peak(image) > 1.3 * threshold
    taken = np.zeros_like(wide.weight)
    model, count = wide.run(image, DEEP, threshold, taken)
    assert count > 0
    assert not taken[0].any()
    assert wide.peak(image - seen(model, psf)) == pytest.approx(threshold, rel=0.1)


def test_components_stay_inside_the_mask(psf):
    sky = np.zeros((SIZE, SIZE), dtype=np.float32)
    sky[48, 30], sky[48, 70] = 1.0, 2.0
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    mask[40:56, 20:40] = True
    model, _ = Cleaner(psf, mask).run(seen(sky, psf), DEEP, 0.02)
    assert not model[~mask].any()
    assert model[mask].sum() == pytest.approx(1.0, abs=0.25)  # the sidelobes of the other source reach in


def test_an_empty_mask_is_no_mask_of_ones(psf):
    with pytest.raises(ValueError, match="empty"):
        Cleaner(psf, np.zeros((SIZE, SIZE), dtype=bool))


@pytest.mark.parametrize(("sidelobe", "fraction"), [(0.05, 0.5), (0.2286, 0.6858), (0.4, 0.8)])
def test_a_cycle_cleans_down_to_what_the_sidelobes_allow(sidelobe, fraction):
    control = CycleControl(cyclefactor=3.0, minpsffraction=0.5, maxpsffraction=0.8)
    assert control.fraction(sidelobe) == pytest.approx(fraction)


def test_preference_of_scales():
    assert Scales((0, 5, 14), 0.9).weights() == pytest.approx([1.0, 1 - 0.9 * 5 / 14, 0.1])
    assert Scales((0,), 0.9).weights() == pytest.approx([1.0])
