"""Tables of numbers: what an astronomer asks first of a cube or image, and the files with their sizes."""
# ruff: noqa: RUF001 - Greek letters, primes and minus signs are what the reader of the page expects

from __future__ import annotations

import math

import numpy as np
from astropy.coordinates import SkyCoord

from fringeflow.errors import DataError
from fringeflow_derived import spectral
from fringeflow_derived.page import measure, read
from fringeflow_derived.page.blocks import Block, Note, Table
from fringeflow_derived.page.entries import Shelf
from fringeflow_derived.page.read import Beam, Header
from fringeflow_derived.page.view import LineView

Row = tuple[str, str]
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def line_table(view: LineView) -> Table:
    """Return the table of a line cube."""
    header, velocity = view.header, np.sort(view.velocity_kms)
    frame = f"{header.get('SPECSYS', 'frame not said')}, {spectral.convention(header)}"
    rows: list[Row] = [("Object", view.name), ("Centre", centre(header))]
    if view.distance_mpc:
        rows.append(("Distance", f"{view.distance_mpc:g} Mpc; 1″ is {_kpc(1, view.distance_mpc) * 1e3:.0f} pc"))
    rows += beam_rows(view.beam, view.distance_mpc)
    rows += [
        ("Pixel", f"{view.pixel_arcsec:g}″; {header['NAXIS1']} × {header['NAXIS2']} pixels"),
        ("Channels", f"{velocity.size} of {view.channel_kms:.2f} km/s"),
        ("Velocities", f"{velocity[0]:.1f} to {velocity[-1]:.1f} km/s ({frame})"),
    ]
    if "RESTFRQ" in header:
        rows.append(("Rest frequency", f"{float(header['RESTFRQ']) / 1e9:.6f} GHz"))
    rows += _noise_rows(view)
    rows += _flux_rows(view)
    rows += _kinematic_rows(view)
    rows += view.shelf.entry.facts.items()
    return Table(tuple(rows))


def beam_rows(beam: Beam | None, distance_mpc: float | None) -> list[Row]:
    """Return the beam in arcsec and, where the distance is known, in kpc."""
    if beam is None:
        return [("Beam", "not in the header")]
    text = measure.beam_label(beam)
    if distance_mpc:
        text += f"; {_kpc(beam.major_arcsec, distance_mpc):.3g} kpc"
    return [("Beam", text)]


def centre(header: Header) -> str:
    """Return the sky position of the image's middle."""
    x, y = (header["NAXIS1"] - 1) / 2, (header["NAXIS2"] - 1) / 2
    where: SkyCoord = read.sky(header).pixel_to_world(x, y)
    ra = where.ra.to_string(unit="hour", sep=":", precision=2, pad=True)
    dec = where.dec.to_string(unit="deg", sep=":", precision=1, alwayssign=True, pad=True)
    return f"{ra} {dec} ({where.frame.name.upper()})"


def power(value: float) -> str:
    """Return a large number as people write it, e.g. ``3.35 × 10⁹``."""
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa} × 10{str(int(exponent)).translate(RAISED)}"


def files(shelf: Shelf) -> tuple[Block, ...]:
    """Return the files of an entry with their sizes, and those that were looked for in vain."""
    rows = tuple((path, f"{path.stat().st_size / 1e6:.2f} MB") for path in sorted(shelf.found))
    blocks: list[Block] = [Table(rows, ("File", "Size"), folded=True)]
    if shelf.missing and not shelf.entry.flat:
        blocks.append(Note("Looked for and not there: " + ", ".join(sorted(shelf.missing)) + "."))
    return tuple(blocks)


def _noise_rows(view: LineView) -> list[Row]:
    if view.noise is None:
        return [("Noise", "the noise cube is not there")]
    mjy = view.noise_k / view.kelvin_per_jybeam * 1e3
    where = "median channel, where the primary beam is 1" if view.response else "median channel, median of the field"
    rows = [("Noise", f"{view.noise_k:.3g} K; {mjy:.3g} mJy/beam ({where})")]
    return [*rows, ("Brightest voxel", f"{view.peak_k:.3g} K; {view.peak_k / view.noise_k:.0f} times the noise")]


def _flux_rows(view: LineView) -> list[Row]:
    rows: list[Row] = []
    for name, one in view.spectra.items():
        flux, error = one.total_jykms
        text = f"{flux:.4g} ± {error:.2g} Jy km/s"
        if view.distance_mpc:
            area_pc2 = view.k_arcsec2_per_jy * (_kpc(1, view.distance_mpc) * 1e3) ** 2
            text += f"; luminosity {power(flux * area_pc2)} K km/s pc²"
            if math.isclose(float(view.header.get("RESTFRQ", 0)), measure.HI_REST_HZ, rel_tol=1e-5):
                text += f"; HI mass {power(measure.hi_mass_msun(flux, view.distance_mpc))} M☉"
        rows.append((f"Flux, {name}", text))
    return rows or [("Flux", "no mask is there")]


def _kinematic_rows(view: LineView) -> list[Row]:
    mean = view.mean_velocity_kms
    rows = [("Mean velocity", "no flux in the masks" if mean is None else f"{mean:.1f} km/s, weighted by flux")]
    try:
        rows.append(("Kinematic position angle", f"{view.gradient.pa_deg:.0f}°, receding side (plane through mom1)"))
    except DataError as error:
        rows.append(("Kinematic position angle", str(error)))
    return rows


def _kpc(arcsec: float, distance_mpc: float) -> float:
    return arcsec * distance_mpc * 1e3 / measure.ARCSEC_PER_RADIAN
