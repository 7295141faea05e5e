"""Products of a small rotating disc with known flux, position angle and velocity, written as the stages would."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.io import fits

TOTAL_JYKMS, VSYS_KMS, PA_DEG, DISTANCE_MPC = 25.0, 1500.0, 130.0, 10.0
SIZE, CHANNELS, CELL_ARCSEC, CHANNEL_KMS, BEAM_ARCSEC = 40, 16, 10.0, 10.0, 40.0
JY_TO_K = 222.0
SIGMA_K = 0.05
TARGET, CONFIG, PRODUCT, TAG = "disc", "7m+tp", "hi21cm", "60as"
PIXELS_PER_BEAM = np.pi / (4 * np.log(2)) * (BEAM_ARCSEC / CELL_ARCSEC) ** 2


def velocities() -> np.ndarray:
    return VSYS_KMS + (CHANNELS // 2 - np.arange(CHANNELS)) * CHANNEL_KMS


def disc() -> np.ndarray:
    """A round exponential disc turning as a solid body, in kelvin, of `TOTAL_JYKMS` altogether."""
    y, x = np.indices((SIZE, SIZE)) - (SIZE - 1) / 2
    east, north = -x * CELL_ARCSEC, y * CELL_ARCSEC
    angle = np.radians(PA_DEG)
    along = east * np.sin(angle) + north * np.cos(angle)
    velocity = VSYS_KMS + 0.5 * along
    shape = np.exp(-np.hypot(x, y) / 2.5)
    line = np.exp(-0.5 * ((velocities()[:, None, None] - velocity) / 12.0) ** 2)
    cube = shape * line * (np.hypot(x, y) < 8)
    jansky = cube.sum() / PIXELS_PER_BEAM / JY_TO_K * CHANNEL_KMS
    return cube * TOTAL_JYKMS / jansky


def header(dimensions: int, unit: str, beam: float | None = BEAM_ARCSEC) -> fits.Header:
    cards = fits.Header()
    cards["CTYPE1"], cards["CRVAL1"], cards["CDELT1"], cards["CRPIX1"] = "RA---SIN", 150.0, -CELL_ARCSEC / 3600, 20.5
    cards["CTYPE2"], cards["CRVAL2"], cards["CDELT2"], cards["CRPIX2"] = "DEC--SIN", 2.0, CELL_ARCSEC / 3600, 20.5
    cards["CUNIT1"] = cards["CUNIT2"] = "deg"
    if dimensions == 3:
        cards["CTYPE3"], cards["CUNIT3"], cards["CRPIX3"] = "VRAD", "m/s", 1.0
        cards["CRVAL3"], cards["CDELT3"] = velocities()[0] * 1e3, -CHANNEL_KMS * 1e3
    cards["RADESYS"], cards["SPECSYS"], cards["RESTFRQ"], cards["BUNIT"] = "ICRS", "LSRK", 1420405751.0, unit
    cards["JYTOK"], cards["OBJECT"] = JY_TO_K, "DISC"
    if beam:
        cards["BMAJ"] = cards["BMIN"] = beam / 3600
        cards["BPA"] = 0.0
    return cards


def write(products: Path, *, signal: bool = True) -> None:
    """Write line and continuum products under `products`; without `signal` the cube is noise and the masks empty."""
    cube = disc() if signal else np.zeros((CHANNELS, SIZE, SIZE))
    mask = cube > 4 * SIGMA_K
    noise = np.random.default_rng(3).normal(0, SIGMA_K, cube.shape)
    root = f"{TARGET}_{CONFIG}_{PRODUCT}"
    flat = np.full(cube.shape, SIGMA_K)
    volumes = {
        f"derived/{root}": (cube, "K", BEAM_ARCSEC),
        f"derived/{root}_noise": (flat, "K", BEAM_ARCSEC),
        f"derived/{root}_strictmask": (mask, "", BEAM_ARCSEC),
        f"derived/{root}_broadmask": (cube > 0, "", BEAM_ARCSEC),
        f"derived/{root}_{TAG}": (cube, "K", 60.0),
        f"derived/{root}_{TAG}_noise": (flat, "K", 60.0),
        f"postprocess/{root}_trimmed_pb": (np.ones(cube.shape), "", None),
        f"imaging/{root}": (cube / JY_TO_K, "Jy/beam", BEAM_ARCSEC),
        f"imaging/{root}_residual": (noise / JY_TO_K, "Jy/beam", None),
        f"imaging/{root}_psf": (np.broadcast_to(_spread(), cube.shape), "", None),
    }
    for name, (data, unit, beam) in volumes.items():
        _save(products, name, data, header(3, unit, beam))
    for tag in ("", f"_{TAG}"):
        for name, (data, unit) in _maps(cube, mask).items():
            _save(products, f"derived/{root}{tag}_{name}", data, header(2, unit))
    _continuum(products, noise[0] / JY_TO_K)


def _maps(cube: np.ndarray, mask: np.ndarray) -> dict[str, tuple[np.ndarray, str]]:
    inside = np.where(mask, cube, 0.0)
    total = inside.sum(axis=0)
    blank = np.where(total > 0, 1.0, np.nan)
    velocity = velocities()[:, None, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (inside * velocity).sum(axis=0) / total
        width = np.sqrt((inside * (velocity - mean) ** 2).sum(axis=0) / total)
    return {
        "strict_mom0": (total * CHANNEL_KMS, "K km s-1"),
        "strict_emom0": (np.full(total.shape, SIGMA_K * CHANNEL_KMS), "K km s-1"),
        "strict_mom1": (mean, "km s-1"),
        "strict_emom1": (blank, "km s-1"),
        "strict_mom2": (width, "km s-1"),
        "broad_tpeak": (cube.max(axis=0), "K"),
    }


def _spread() -> np.ndarray:
    y, x = np.indices((SIZE, SIZE)) - SIZE // 2
    return np.exp(-4 * np.log(2) * (np.hypot(x, y) * CELL_ARCSEC / BEAM_ARCSEC) ** 2)


def _continuum(products: Path, noise: np.ndarray) -> None:
    image = noise.copy()
    image[12, 30] += 0.05
    for ext, data in (("", image), ("_residual", noise), ("_alpha", np.full(noise.shape, -0.7))):
        _save(products, f"imaging/{TARGET}_{CONFIG}_cont{ext}", data, header(2, "Jy/beam"))


def _save(products: Path, name: str, data: np.ndarray, cards: fits.Header) -> None:
    stage, _, file = name.partition("/")
    folder = products / stage / TARGET
    folder.mkdir(parents=True, exist_ok=True)
    kind = np.uint8 if data.dtype == bool else np.float32
    fits.writeto(folder / f"{file}.fits", np.asarray(data, dtype=kind), cards)
