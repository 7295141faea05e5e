"""Curves and histograms: integrated spectra, noise against velocity, radial profiles, residuals against a Gaussian."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fringeflow_derived.page.figures import style
from fringeflow_derived.page.measure import Spectrum
from fringeflow_derived.page.read import Array, Beam

VELOCITY_LABEL = "Velocity (km s$^{-1}$)"


def spectrum(spectra: Mapping[str, Spectrum], vsys_kms: float | None) -> bytes:
    """Draw integrated spectra over one another with their one-sigma bands, as PNG."""
    figure = style.new_figure(8.6, 3.7)
    draw_spectra(style.place(figure, 0.85, 0.6, 7.55, 2.85), spectra, vsys_kms)
    return style.png(figure)


def draw_spectra(axes: Any, spectra: Mapping[str, Spectrum], vsys_kms: float | None) -> None:
    """Draw spectra as steps; the first in ink, each with its total in the legend."""
    for (name, one), colour in zip(spectra.items(), style.SERIES, strict=False):
        order = np.argsort(one.velocity_kms)
        velocity, flux, sigma = one.velocity_kms[order], one.flux_jy[order], one.sigma_jy[order]
        total, error = one.total_jykms
        label = f"{name}: {total:.3g} ± {error:.2g} Jy km s$^{{-1}}$"
        axes.step(velocity, flux, where="mid", color=colour, linewidth=1.4, label=label)
        axes.fill_between(velocity, flux - sigma, flux + sigma, step="mid", color=colour, alpha=0.2, linewidth=0)
    axes.axhline(0, color=style.FAINT, linewidth=0.8)
    style.plain(axes, x=VELOCITY_LABEL, y="Flux density (Jy)")
    low, high = axes.get_ylim()
    if vsys_kms is not None:
        axes.vlines(vsys_kms, low, high, color=style.FAINT, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
    axes.set_ylim(low, high + 0.1 * len(spectra) * (high - low))
    axes.margins(x=0.02)
    style.legend(axes, loc="upper left")


def draw_noise(axes: Any, curves: Mapping[str, tuple[Array, Array]]) -> None:
    """Draw noise against velocity; `curves` maps a name to velocities and mJy/beam."""
    for (name, (velocity, noise)), colour in zip(curves.items(), style.SERIES, strict=False):
        axes.plot(velocity, noise, color=colour, marker="o", markersize=2.6, linewidth=1.1, label=name)
    style.plain(axes, x=VELOCITY_LABEL, y="Noise (mJy beam$^{-1}$)")
    top = max((float(np.nanmax(noise)) for _, noise in curves.values()), default=1.0)
    axes.set_ylim(0, top * 1.45)
    style.legend(axes, loc="upper left")


def draw_profile(axes: Any, radius: Array, mean: Array, beam: Beam | None) -> None:
    """Draw the point spread function's azimuthal mean, and the fitted beam as a Gaussian of the same area."""
    axes.axhline(0, color=style.FAINT, linewidth=0.8)
    axes.plot(radius, mean, color=style.INK, linewidth=1.4, label="point spread function, azimuthal mean")
    if beam is not None:
        width = np.sqrt(beam.major_arcsec * beam.minor_arcsec)
        fine = np.linspace(0, float(radius[-1]), 300)
        gaussian = np.exp(-4 * np.log(2) * (fine / width) ** 2)
        axes.plot(fine, gaussian, color=style.ACCENT, linewidth=1.1, linestyle="--", label="fitted beam")
    style.plain(axes, x="Radius (arcsec)", y="Response (peak = 1)")
    axes.set_xlim(0, radius[-1])
    style.legend(axes, loc="upper right")


def draw_histogram(axes: Any, counts: Array, edges: Array) -> None:
    """Draw the distribution of residual over noise with the unit Gaussian of the same number, counts on a log scale."""
    middle = (edges[1:] + edges[:-1]) / 2
    total, step = counts.sum(), edges[1] - edges[0]
    axes.stairs(counts, edges, color=style.SECOND, fill=True, alpha=0.35)
    axes.stairs(counts, edges, color=style.SECOND, linewidth=1.0, label="residual / noise")
    gaussian = total * step * np.exp(-(middle**2) / 2) / np.sqrt(2 * np.pi)
    axes.plot(middle, gaussian, color=style.ACCENT, linewidth=1.3, label="Gaussian, width 1")
    axes.set_yscale("log")
    axes.set_xlim(edges[0], edges[-1])
    style.plain(axes, x="Residual / noise", y="Pixels")
    axes.set_ylim(0.5, max(float(counts.max()), 1.0) * 30)
    style.legend(axes, loc="upper right")
