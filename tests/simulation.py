"""Makes tiny measurement sets of a rotating disc whose truth is known, for the tests of every room, in a second each.

Antenna tracks come from CASA's simulator; the visibilities are the exact Fourier sum of the model sky times the dish's
beam, so they do not depend on any imager. CASA is imported inside functions only: use the fixture ``casa_ready``.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf, j1

C_KMS = 299792.458
CO21_GHZ = 230.538
FWHM = float(2.0 * np.sqrt(2.0 * np.log(2.0)))
MODEL_PIXELS = 48
MODEL_WIDTHS = 3.0  # full widths at half maximum of the disc that the model grid spans
# (outer, blocked) diameters in m of the illumination that CASA's imager assumes for ALMA's two kinds of dish
ILLUMINATION_M = {12.0: (10.7, 0.75), 7.0: (6.25, 0.75)}
TOPO, LSRK = 5, 1  # casacore's codes of frequency frames

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Window:
    """One spectral window; velocities are LSRK, radio, at mid track."""

    n_channels: int = 16
    channel_kms: float = 5.0
    centre_kms: float | None = None  # None: the systemic velocity
    restfreq_ghz: float | None = None  # of the line that the velocities count for; None: the disc's own
    ascending: bool = True  # frequency rises with channel number


@dataclass(frozen=True)
class Point:
    """A continuum point source at an offset from the disc's centre."""

    east_arcsec: float
    north_arcsec: float
    flux_jy: float


@dataclass(frozen=True)
class Observation:
    """When and with what a pointing is observed.

    `east_arcsec`, `north_arcsec`: the pointing relative to the disc's centre. `n_times` integrations of `integration_s`
    are spread evenly round `hour_angle_h`, `step_s` apart.
    """

    date: str = "2023/03/20"
    hour_angle_h: float = 0.0
    n_times: int = 10
    integration_s: float = 60.0
    step_s: float = 900.0
    n_antennas: int = 10
    longest_m: float = 150.0
    dish_m: float = 12.0
    east_arcsec: float = 0.0
    north_arcsec: float = 0.0


@dataclass(frozen=True)
class Truth:
    """The sky that was observed, and what came of it.

    The disc is a round Gaussian of FWHM `size_arcsec` at (`ra_deg`, `dec_deg`). Its mean velocity rises by
    `gradient_kms_arcsec` towards position angle `pa_deg` (north through east), and every sightline has a Gaussian line
    of dispersion `dispersion_kms`. `continuum_jy` is the flux of the disc's continuum (of the same shape) at
    `restfreq_ghz`, with spectral index `spectral_index`, which `points` share.
    `windows_ghz`: LSRK channel centres of each window at mid track. `line_cubes_jy`: the line in Jy per pixel
    [channel, y, x] in these channels (x grows to the west, y to the north, the centre at pixel n // 2).
    `sigma_jy`: noise of the real part of one visibility of one polarisation.
    """

    line_flux_jykms: float = 100.0
    vsys_kms: float = 1000.0
    size_arcsec: float = 5.0
    gradient_kms_arcsec: float = 3.0
    pa_deg: float = 40.0
    dispersion_kms: float = 6.0
    continuum_jy: float = 0.0
    spectral_index: float = 0.0
    points: tuple[Point, ...] = ()
    restfreq_ghz: float = CO21_GHZ
    ra_deg: float = 180.0
    dec_deg: float = -30.0
    sigma_jy: float = 0.05
    path: Path = Path()
    field_name: str = "disc"
    rows: int = 0
    windows_ghz: tuple[Floats, ...] = field(repr=False, default=())
    line_cubes_jy: tuple[Floats, ...] = field(repr=False, default=())

    @property
    def cell_arcsec(self) -> float:
        """Pixel of the model grid."""
        return self.size_arcsec * MODEL_WIDTHS / MODEL_PIXELS

    @property
    def integrated_dispersion_kms(self) -> float:
        """Dispersion of the spectrum summed over the disc."""
        return float(np.hypot(self.dispersion_kms, self.gradient_kms_arcsec * self.size_arcsec / FWHM))

    def velocities_kms(self, window: int = 0) -> Floats:
        """LSRK radio velocities of the channel centres of one window."""
        return C_KMS * (1 - self.windows_ghz[window] / self.restfreq_ghz)

    def mean_velocity_kms(self, east_arcsec: Any, north_arcsec: Any) -> Any:
        """Mean line-of-sight velocity at an offset from the centre."""
        angle = np.radians(self.pa_deg)
        return self.vsys_kms + self.gradient_kms_arcsec * (east_arcsec * np.sin(angle) + north_arcsec * np.cos(angle))

    def line_jy(self, freqs_ghz: Floats, width_ghz: float) -> Floats:
        """Jy per pixel [channel, y, x] of the line averaged over channels of `width_ghz`."""
        east, north = np.meshgrid(-_axis() * self.cell_arcsec, _axis() * self.cell_arcsec)
        scale = np.sqrt(2.0) * self.dispersion_kms * self.restfreq_ghz / C_KMS
        centre = self.restfreq_ghz * (1 - self.mean_velocity_kms(east, north) / C_KMS)
        above = (freqs_ghz[:, None, None] + width_ghz / 2 - centre) / scale
        below = (freqs_ghz[:, None, None] - width_ghz / 2 - centre) / scale
        channel_kms = width_ghz / self.restfreq_ghz * C_KMS
        return np.asarray(self.line_flux_jykms * self._shape() * 0.5 * (erf(above) - erf(below)) / channel_kms)

    def continuum_jy_at(self, freqs_ghz: Floats) -> Floats:
        """Jy per pixel [channel, y, x] of the disc's continuum."""
        slope = (freqs_ghz / self.restfreq_ghz) ** self.spectral_index
        return self.continuum_jy * self._shape() * slope[:, None, None]

    def _shape(self) -> Floats:
        x, y = np.meshgrid(_axis(), _axis())
        sigma = MODEL_PIXELS / MODEL_WIDTHS / FWHM
        shape = np.exp(-(x**2 + y**2) / (2 * sigma**2))
        return np.asarray(shape / shape.sum())


def simulate_disc(
    path: Path,
    sky: Truth | None = None,
    *,
    windows: Sequence[Window] = (Window(),),
    observation: Observation | None = None,
    frame: str = "LSRK",
    intents: bool = True,
    calibrator_jy: float = 0.0,
    corrected: bool = False,
    seed: int = 1,
    **changes: Any,
) -> Truth:
    """Write the measurement set of one execution on one pointing, and return the truth.

    Parameters
    ----------
    path
        The measurement set to write; replaced if it is there.
    sky, changes
        The sky, and members of it (see `Truth`) to change: ``simulate_disc(path, continuum_jy=0.5)``.
    windows
        Spectral windows; one whose `centre_kms` is far from the disc's velocity does not hold the line.
    observation
        Date, array and pointing; several executions are several calls, with different seeds.
    frame
        Frequency frame that is stored, ``LSRK`` or ``TOPO``.
    intents
        Whether the STATE table tells OBSERVE_TARGET; if not it is empty, as in data read from UVFITS.
    calibrator_jy
        If positive, a second field called ``calibrator``, a point source, is observed with another intent.
    corrected
        Put the visibilities into CORRECTED_DATA and leave zeros in DATA.
    """
    sky = replace(sky or Truth(), **changes)
    watch = observation or Observation()
    grids = [_channels(window, sky) for window in windows]
    pointing = _offset(sky.ra_deg, sky.dec_deg, watch.east_arcsec, watch.north_arcsec)
    fields = {sky.field_name: pointing}
    if calibrator_jy > 0:
        fields["calibrator"] = (pointing[0] + 5.0, pointing[1])
    _observe(path, grids, fields, watch, frame)
    doppler = _to_topo(path, pointing) if frame == "TOPO" else {}
    rows = _fill(path, sky, grids, watch, doppler, calibrator_jy, corrected=corrected, seed=seed)
    if not intents:
        _drop_states(path)
    return replace(
        sky,
        path=path,
        rows=rows,
        windows_ghz=tuple(freqs for freqs, _ in grids),
        line_cubes_jy=tuple(sky.line_jy(freqs, abs(step)) for freqs, step in grids),
    )


def _axis() -> Floats:
    return np.arange(MODEL_PIXELS, dtype=float) - MODEL_PIXELS // 2


def _offset(ra_deg: float, dec_deg: float, east_arcsec: float, north_arcsec: float) -> tuple[float, float]:
    return ra_deg + east_arcsec / 3600 / np.cos(np.radians(dec_deg)), dec_deg + north_arcsec / 3600


def _channels(window: Window, sky: Truth) -> tuple[Floats, float]:
    """Return LSRK channel centres and step in GHz."""
    rest = window.restfreq_ghz or sky.restfreq_ghz
    centre: float = rest * (1 - (sky.vsys_kms if window.centre_kms is None else window.centre_kms) / C_KMS)
    step = (1 if window.ascending else -1) * window.channel_kms * rest / C_KMS
    return np.asarray(centre + (np.arange(window.n_channels) - (window.n_channels - 1) / 2) * step), step


def _observe(
    path: Path,
    grids: list[tuple[Floats, float]],
    fields: dict[str, tuple[float, float]],
    watch: Observation,
    frame: str,
) -> None:
    """Write a measurement set of zeros with antennas, fields, UVW and intents."""
    from casatools import measures, simulator

    sm, me = simulator(), measures()
    shutil.rmtree(path, ignore_errors=True)
    sm.open(str(path))
    number = np.arange(watch.n_antennas)
    radius = watch.longest_m / 2 * ((number + 1) / watch.n_antennas) ** 1.2
    angle = number * 2.39996
    sm.setconfig(
        telescopename="ALMA",
        x=list(radius * np.cos(angle)),
        y=list(radius * np.sin(angle)),
        z=[0.0] * watch.n_antennas,
        dishdiameter=[watch.dish_m] * watch.n_antennas,
        mount=["alt-az"],
        antname=[f"DV{n:02d}" if watch.dish_m > 10 else f"CM{n:02d}" for n in number],
        padname=[f"A{n:03d}" for n in number],
        coordsystem="local",
        referencelocation=me.observatory("ALMA"),
    )
    for n, (freqs, step) in enumerate(grids):
        sm.setspwindow(
            spwname=f"window{n}",
            freq=f"{freqs[0]:.12f}GHz",
            deltafreq=f"{step:.12f}GHz",
            freqresolution=f"{abs(step):.12f}GHz",
            nchannels=len(freqs),
            refcode=frame,
            stokes="XX YY",
        )
    sm.setfeed("perfect X Y", pol=[""])
    sm.setlimits(shadowlimit=0.01, elevationlimit="5deg")
    sm.setauto(0.0)
    for name, (ra, dec) in fields.items():
        sm.setfield(sourcename=name, sourcedirection=me.direction("J2000", f"{ra:.12f}deg", f"{dec:.12f}deg"))
    sm.settimes(f"{watch.integration_s}s", usehourangle=True, referencetime=me.epoch("UTC", f"{watch.date}/00:00:00"))
    for t in range(watch.n_times):
        begin = watch.hour_angle_h * 3600 + (t - (watch.n_times - 1) / 2) * watch.step_s
        for visit, name in enumerate(fields):
            start = begin + visit * (watch.integration_s + 5)
            for n in range(len(grids)):
                sm.observe(
                    name,
                    f"window{n}",
                    starttime=f"{start}s",
                    stoptime=f"{start + watch.integration_s}s",
                    state_obs_mode="CALIBRATE_PHASE#ON_SOURCE" if name == "calibrator" else "OBSERVE_TARGET#ON_SOURCE",
                    state_sig=True,
                    state_ref=False,
                )
    sm.close()


def _to_topo(path: Path, pointing: tuple[float, float]) -> dict[float, float]:
    """Shift the stored frequencies to the observatory's frame at mid track; return LSRK / TOPO of every time."""
    from casatools import measures, table

    me, tb = measures(), table()
    tb.open(str(path))
    times = np.unique(tb.getcol("TIME"))
    tb.close()
    me.doframe(me.observatory("ALMA"))
    me.doframe(me.direction("J2000", f"{pointing[0]}deg", f"{pointing[1]}deg"))
    ratio = {}
    for time in times:
        me.doframe(me.epoch("UTC", f"{time / 86400:.12f}d"))
        ratio[float(time)] = me.measure(me.frequency("TOPO", "1GHz"), "LSRK")["m0"]["value"] / 1e9
    middle = ratio[float(times[len(times) // 2])]
    tb.open(str(path / "SPECTRAL_WINDOW"), nomodify=False)
    for row in range(tb.nrows()):
        for column in ("CHAN_FREQ", "CHAN_WIDTH", "EFFECTIVE_BW", "RESOLUTION", "REF_FREQUENCY", "TOTAL_BANDWIDTH"):
            tb.putcell(column, row, tb.getcell(column, row) / middle)
        tb.putcell("MEAS_FREQ_REF", row, TOPO)
    tb.close()
    return {time: value / middle for time, value in ratio.items()}


def _fill(
    path: Path,
    sky: Truth,
    grids: list[tuple[Floats, float]],
    watch: Observation,
    doppler: dict[float, float],
    calibrator_jy: float,
    *,
    corrected: bool,
    seed: int,
) -> int:
    """Write the visibilities of the sky through the dish's beam, noise, weights and sigmas; return the row count."""
    from casatools import table

    random = np.random.default_rng(seed)
    tb = table()
    tb.open(str(path), nomodify=False)
    for unwanted in {"MODEL_DATA", "CORRECTED_DATA"} - ({"CORRECTED_DATA"} if corrected else set()):
        if unwanted in tb.colnames():
            tb.removecols([unwanted])
    for number, (freqs, step) in enumerate(grids):
        part = tb.query(f"DATA_DESC_ID == {number}")
        uvw, fields, times = part.getcol("UVW"), part.getcol("FIELD_ID"), part.getcol("TIME")
        data = np.zeros((2, len(freqs), len(times)), dtype=complex)
        for time in np.unique(times):  # LSRK frequencies of fixed TOPO channels drift along the track
            rows = np.flatnonzero((times == time) & (fields == 0))
            if rows.size:
                lsrk = freqs * doppler.get(float(time), 1.0)
                data[:, :, rows] = _visibilities(sky, lsrk, abs(step), uvw[:, rows], watch)
        data[:, :, fields == 1] = calibrator_jy
        data += random.normal(0, sky.sigma_jy, data.shape) + 1j * random.normal(0, sky.sigma_jy, data.shape)
        zeros = np.zeros(data.shape, dtype=bool)
        part.putcol("DATA", zeros.astype(complex) if corrected else data)
        if corrected:
            part.putcol("CORRECTED_DATA", data)
        part.putcol("FLAG", zeros)
        part.putcol("FLAG_ROW", zeros[0, 0])
        weight = 1.0 / max(sky.sigma_jy, 1e-6) ** 2
        part.putcol("WEIGHT", np.full((2, len(times)), weight))
        part.putcol("SIGMA", np.full((2, len(times)), weight**-0.5))
        part.close()
    total = int(tb.nrows())
    tb.close()
    return total


def _visibilities(sky: Truth, freqs_ghz: Floats, width_ghz: float, uvw_m: Floats, watch: Observation) -> NDArray[Any]:
    """Exact Fourier sum [channel, row] of the sky times the beam about the pointing."""
    arcsec = np.radians(1 / 3600)
    l_axis = (-_axis() * sky.cell_arcsec - watch.east_arcsec) * arcsec
    m_axis = (_axis() * sky.cell_arcsec - watch.north_arcsec) * arcsec
    radius = np.hypot(*np.meshgrid(l_axis, m_axis))
    image = sky.line_jy(freqs_ghz, width_ghz) + sky.continuum_jy_at(freqs_ghz)
    out = np.empty((len(freqs_ghz), uvw_m.shape[1]), dtype=complex)
    for n, freq in enumerate(freqs_ghz):
        u, v = uvw_m[:2] * freq / (C_KMS * 1e-6)
        seen = image[n] * _beam(radius, freq, watch.dish_m)
        # the sign that CASA stores
        out[n] = ((np.exp(2j * np.pi * np.outer(v, m_axis)) @ seen) * np.exp(2j * np.pi * np.outer(u, l_axis))).sum(1)
        for point in sky.points:
            l_at = (point.east_arcsec - watch.east_arcsec) * arcsec
            m_at = (point.north_arcsec - watch.north_arcsec) * arcsec
            flux = point.flux_jy * (freq / sky.restfreq_ghz) ** sky.spectral_index
            seen_flux = flux * _beam(np.hypot(l_at, m_at), freq, watch.dish_m)
            out[n] += seen_flux * np.exp(2j * np.pi * (u * l_at + v * m_at))
    return out


def _beam(radius_rad: Any, freq_ghz: float, dish_m: float) -> Any:
    """Power pattern of an annular aperture."""
    outer, blocked = ILLUMINATION_M[dish_m]

    def voltage(diameter_m: float) -> Any:
        x = np.maximum(np.pi * diameter_m * freq_ghz / (C_KMS * 1e-6) * np.sin(radius_rad), 1e-9)
        return 2 * j1(x) / x

    share = (blocked / outer) ** 2
    return ((voltage(outer) - share * voltage(blocked)) / (1 - share)) ** 2


def _drop_states(path: Path) -> None:
    from casatools import table

    tb = table()
    tb.open(str(path / "STATE"), nomodify=False)
    tb.removerows(list(range(tb.nrows())))
    tb.close()
    tb.open(str(path), nomodify=False)
    tb.putcol("STATE_ID", np.full(tb.nrows(), -1, dtype=np.int32))
    tb.close()
