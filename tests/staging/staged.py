"""Staging of tiny simulated sets for tests: what is asked for, and what came of it as spectra."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fringeflow_staging.continuum import stage_continuum
from fringeflow_staging.lines import stage_line
from fringeflow_staging.settings import LineSettings
from fringeflow_staging.tables import open_table
from fringeflow_staging.windows import C_KMS, line_range_ghz
from tests.simulation import CO21_GHZ, Observation, Truth, Window

# So small that every baseline sees the whole flux
DOT = Truth(size_arcsec=0.01, gradient_kms_arcsec=0.0, dispersion_kms=8.0, continuum_jy=2.0)
BAND = (Window(n_channels=48, channel_kms=2.5),)
SHORT = Observation(n_times=3, n_antennas=6)


def wanted(**changes):
    settings = LineSettings(
        restfreq_ghz=CO21_GHZ,
        vsys_kms=1000.0,
        vwidth_kms=102.0,
        channel_kms=2.6,
        excluded_ghz=(line_range_ghz(CO21_GHZ, 1000.0, 60.0),),
        statwt_edge_kms=20.0,
    )
    return replace(settings, **changes)


def staged(tmp_path, sources, settings):
    stage = stage_line if isinstance(settings, LineSettings) else stage_continuum
    steps = []
    output = tmp_path / "out.ms"
    report = stage(sources, settings, output, tmp_path / "scratch", lambda step, fraction: steps.append(fraction))
    assert list((tmp_path / "scratch").iterdir()) == []
    assert steps == sorted(steps)
    return output, report


def spectra(path):
    """Velocities of the windows and, per window, the weighted mean visibility and the weights of its rows."""
    found = []
    with open_table(path / "SPECTRAL_WINDOW") as windows:
        freqs = [windows.getcell("CHAN_FREQ", row) / 1e9 for row in range(windows.nrows())]
    with open_table(path) as main:
        for number, freq in enumerate(freqs):
            part = main.query(f"DATA_DESC_ID == {number}")
            data = np.ma.array(part.getcol("DATA"), mask=part.getcol("FLAG"))
            weight = part.getcol("WEIGHT")
            mean = np.ma.average(data, axis=(0, 2), weights=np.broadcast_to(weight[:, None, :], data.shape))
            order = np.argsort(-freq)
            found.append((C_KMS * (1 - freq[order] / CO21_GHZ), mean[order], data[:, order], weight))
            part.close()
    return found


def flux(velocities, mean):
    return float(mean.real.sum() * np.diff(velocities).mean())
