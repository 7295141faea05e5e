"""Numbers read off the products: spectra and fluxes, noise, position angle and position-velocity cuts.

Plain functions on arrays and FITS files; nothing here draws.
"""
# ruff: noqa: RUF001 - Greek letters, primes and minus signs are what the reader of the page expects

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from fringeflow.errors import NothingSelectedError
from fringeflow_derived.page.read import (
    Array,
    Beam,
    Cube,
    Header,
    Mask,
    Window,
    beam_of,
    channel_kms,
    open_cube,
    pixel_arcsec,
    velocities_kms,
)

HI_REST_HZ = 1420405751.0
HI_SOLAR_MASSES = 2.356e5  # of neutral hydrogen, optically thin, per Mpc^2 Jy km/s (Roberts 1975)
MAD_TO_SIGMA = 1.4826
ARCSEC_PER_RADIAN = 206264.806
BOLTZMANN_JY_ARCSEC2 = 2 * 1.380649e-23 / ARCSEC_PER_RADIAN**2 / 1e-26  # 2 k per arcsec^2, Jy m^2 / K


@dataclass(frozen=True)
class Spectrum:
    """Flux density in each channel, summed over a mask, with its one-sigma uncertainty."""

    velocity_kms: Array
    flux_jy: Array
    sigma_jy: Array
    pixels: Array
    channel_kms: float

    @property
    def total_jykms(self) -> tuple[float, float]:
        """Integrated flux and its uncertainty, in Jy km/s."""
        return (
            float(self.flux_jy.sum()) * self.channel_kms,
            float(np.sqrt((self.sigma_jy**2).sum())) * self.channel_kms,
        )


@dataclass(frozen=True)
class Gradient:
    """A plane fitted to a velocity field: v = centre + slope along the position angle."""

    centre_x: float
    centre_y: float
    vsys_kms: float
    pa_deg: float
    slope_kms_arcsec: float
    rms_kms: float


@dataclass(frozen=True)
class Cut:
    """A position-velocity diagram: brightness (velocity, offset) along a line."""

    offset_arcsec: Array
    velocity_kms: Array
    brightness_k: Array


def kelvin_arcsec2_per_jy(header: Header) -> float:
    """Return the constant between brightness times solid angle and flux density, K arcsec2 / Jy.

    ``JYTOK`` (K per Jy/beam) times the beam's area does not depend on the beam. Without the card the constant follows
    from the rest frequency (Rayleigh-Jeans).

    Raises
    ------
    NothingSelectedError
        If the header has neither ``JYTOK`` and a beam nor ``RESTFRQ``.
    """
    beam = beam_of(header)
    if "JYTOK" in header and beam is not None:
        return float(header["JYTOK"]) * beam.area_arcsec2
    if "RESTFRQ" not in header:
        raise NothingSelectedError("the header has neither JYTOK nor RESTFRQ, so kelvin cannot be turned into jansky")
    wavelength_m = 299792458.0 / float(header["RESTFRQ"])
    return wavelength_m**2 / BOLTZMANN_JY_ARCSEC2


def integrated_spectrum(cube: Path, mask: Path, noise: Path | None, *, k_arcsec2_per_jy: float) -> Spectrum:
    """Sum a cube in kelvin over a mask, channel by channel.

    The uncertainty takes noise to be the same over one beam and independent between beams:
    ``sigma_S = sqrt(sum sigma^2 * N_beam) * pixel / constant``. Without a noise cube it is zero.

    Raises
    ------
    CorruptInputError
        If a file cannot be read or shapes differ.
    """
    with ExitStack() as stack:
        data = stack.enter_context(open_cube(cube))
        chosen = stack.enter_context(open_cube(mask, like=data))
        sigma = stack.enter_context(open_cube(noise, like=data)) if noise else None
        pixel_area = pixel_arcsec(data.header) ** 2
        beam = beam_of(data.header)
        per_beam = max(beam.area_arcsec2 / pixel_area, 1.0) if beam else 1.0
        rows = [_channel_sums(channel, data, chosen, sigma) for channel in range(data.shape[0])]
        flux, variance, pixels = np.array(rows).T
        to_jy = pixel_area / k_arcsec2_per_jy
        return Spectrum(
            velocities_kms(data.header),
            flux * to_jy,
            np.sqrt(variance * per_beam) * to_jy,
            pixels,
            channel_kms(data.header),
        )


def robust_sigma(values: Array) -> float:
    """Return the scatter from the median absolute deviation; NaN are ignored, of nothing it is NaN."""
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return math.nan
    return MAD_TO_SIGMA * float(np.median(np.abs(finite - np.median(finite))))


def peak(cube: Path) -> float:
    """Return the largest value of a cube; NaN if nothing in it is finite."""
    with open_cube(cube) as data:
        found = [float(np.nanmax(plane)) for plane in data.planes() if np.isfinite(plane).any()]
    return max(found, default=math.nan)


def channel_noise(noise: Cube, response: Cube | None) -> Array:
    """Return the median noise of each channel; with the primary beam `response`, of the uncorrected image."""
    values = []
    for channel in range(noise.shape[0]):
        plane = noise.plane(channel)
        values.append(_median(plane * response.plane(channel) if response else plane))
    return np.array(values)


def hi_mass_msun(flux_jykms: float, distance_mpc: float) -> float:
    """Return the mass of neutral hydrogen, optically thin (Roberts 1975)."""
    return HI_SOLAR_MASSES * distance_mpc**2 * flux_jykms


def fit_gradient(velocity: Array, weight: Array, header: Header) -> Gradient:
    """Fit a plane to a velocity field by weighted least squares; the position angle is of the receding side.

    The centre is the `weight`-weighted mean position of the pixels with a velocity, and ``vsys`` the plane's value
    there.

    Raises
    ------
    NothingSelectedError
        If fewer than six pixels have a velocity and a positive weight.
    """
    good = np.isfinite(velocity) & np.isfinite(weight) & (weight > 0)
    if good.sum() < 6:
        raise NothingSelectedError("fewer than six pixels have a velocity: no position angle can be fitted")
    y, x = np.nonzero(good)
    w = weight[good]
    centre_x, centre_y = np.average(x, weights=w), np.average(y, weights=w)
    cell = pixel_arcsec(header)
    east = (x - centre_x) * cell * math.copysign(1, float(header["CDELT1"]))
    north = (y - centre_y) * cell
    design = np.stack([np.ones_like(east), east, north], axis=1)
    root = np.sqrt(w)
    (vsys, to_east, to_north), *_ = np.linalg.lstsq(design * root[:, None], velocity[good] * root, rcond=None)
    misfit = velocity[good] - design @ np.array([vsys, to_east, to_north])
    return Gradient(
        float(centre_x),
        float(centre_y),
        float(vsys),
        math.degrees(math.atan2(to_east, to_north)) % 360,
        float(math.hypot(to_east, to_north)),
        float(np.sqrt(np.average(misfit**2, weights=w))),
    )


def shifted(line: Gradient, window: Window) -> Gradient:
    """Return `line` in pixels of the whole image, given in pixels of `window`."""
    return replace(line, centre_x=line.centre_x + window.x0, centre_y=line.centre_y + window.y0)


def position_velocity(cube: Path, line: Gradient, *, half_length_arcsec: float, width_arcsec: float) -> Cut:
    """Cut a cube along the position angle of `line` through its centre, averaged over `width_arcsec` across it.

    Positive offsets lie towards the position angle; samples are one pixel apart, interpolated linearly.
    """
    with open_cube(cube) as data:
        cell = pixel_arcsec(data.header)
        along = np.arange(-half_length_arcsec, half_length_arcsec + cell / 2, cell)
        across = np.arange(-width_arcsec / 2, width_arcsec / 2 + cell / 2, cell) if width_arcsec > cell else np.zeros(1)
        angle = math.radians(line.pa_deg)
        x, y = _pixels_of(along[None, :], across[:, None], angle, line, data.header)
        rows = []
        for plane in data.planes():
            known = np.isfinite(plane)
            value = ndimage.map_coordinates(np.where(known, plane, 0.0), [y, x], order=1, cval=0.0)
            share = ndimage.map_coordinates(known.astype(float), [y, x], order=1, cval=0.0)
            with np.errstate(invalid="ignore", divide="ignore"):
                rows.append(np.where(share.sum(axis=0) > 0, value.sum(axis=0) / share.sum(axis=0), np.nan))
        return Cut(along, velocities_kms(data.header), np.array(rows))


def line_ends(line: Gradient, header: Header, half_length_arcsec: float) -> tuple[Array, Array]:
    """Return the x and y pixels of both ends of a cut."""
    ends = np.array([-half_length_arcsec, half_length_arcsec])
    return _pixels_of(ends, np.zeros(2), math.radians(line.pa_deg), line, header)


def radial_profile(
    image: Array, centre: tuple[int, int], cell_arcsec: float, reach_arcsec: float
) -> tuple[Array, Array]:
    """Return radius (arcsec) and azimuthal mean of `image` about pixel `centre` (y, x), in rings of one pixel."""
    y, x = np.indices(image.shape)
    ring = np.rint(np.hypot(y - centre[0], x - centre[1])).astype(int)
    good = np.isfinite(image) & (ring <= reach_arcsec / cell_arcsec)
    count = np.bincount(ring[good])
    radius = np.arange(count.size, dtype=np.float64) * cell_arcsec
    filled = count > 0
    mean = np.bincount(ring[good], weights=image[good])[filled] / count[filled]
    return radius[filled], np.asarray(mean, dtype=np.float64)


def beam_label(beam: Beam) -> str:
    """Return the beam in words, e.g. ``54.1" x 46.5", PA 12 deg``."""
    if math.isclose(beam.major_arcsec, beam.minor_arcsec, rel_tol=1e-3):
        return f"{beam.major_arcsec:.2f}″ (round)"
    return f"{beam.major_arcsec:.2f}″ × {beam.minor_arcsec:.2f}″, PA {beam.pa_deg:.1f}°"


def _channel_sums(channel: int, data: Cube, mask: Cube, noise: Cube | None) -> tuple[float, float, float]:
    plane = data.plane(channel)
    inside: Mask = (mask.plane(channel) > 0) & np.isfinite(plane)
    variance = float(np.nansum(noise.plane(channel)[inside] ** 2)) if noise else 0.0
    return float(plane[inside].sum()), variance, float(inside.sum())


def _median(values: Array) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else math.nan


def _pixels_of(along: Array, across: Array, angle: float, line: Gradient, header: Header) -> tuple[Array, Array]:
    cell = pixel_arcsec(header)
    east = along * math.sin(angle) + across * math.cos(angle)
    north = along * math.cos(angle) - across * math.sin(angle)
    return line.centre_x + east / cell * math.copysign(1, float(header["CDELT1"])), line.centre_y + north / cell
