"""One line cube as the page sees it: its files opened once, its numbers measured once, its cutout of the sky chosen."""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path

import numpy as np

from fringeflow.errors import CorruptInputError
from fringeflow_derived.page import measure, read
from fringeflow_derived.page.entries import Shelf
from fringeflow_derived.page.figures.maps import Frame
from fringeflow_derived.page.measure import Gradient, Spectrum
from fringeflow_derived.page.read import Array, Beam, Header, Mask, Plane, Window

MASKS = ("strict", "broad")


class LineView:
    """Measurements of one line cube, each made when first asked for.

    Raises
    ------
    MissingInputError
        If the cube itself is not there.
    """

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.cube: Path = shelf.find("derived") or shelf.need("postprocess", "pbcorr_trimmed_k")
        with read.open_cube(self.cube) as cube:
            self.header: Header = cube.header.copy()
        self.velocity_kms: Array = read.velocities_kms(self.header)
        self.channel_kms = read.channel_kms(self.header)
        self.pixel_arcsec = read.pixel_arcsec(self.header)
        self.beam: Beam | None = read.beam_of(self.header)
        self.name = str(self.header.get("OBJECT", shelf.entry.target))

    @cached_property
    def distance_mpc(self) -> float | None:
        """Distance: the entry's, or the first found in a cube's header."""
        if self.shelf.entry.distance_mpc:
            return self.shelf.entry.distance_mpc
        for tag in ("", *self.shelf.entry.tags):
            path = self.cube if not tag else self.shelf.find("derived", tag=tag)
            if path is not None:
                with read.open_cube(path) as cube:
                    if "DIST_MPC" in cube.header:
                        return float(cube.header["DIST_MPC"])
        return None

    @cached_property
    def k_arcsec2_per_jy(self) -> float:
        """The constant between K arcsec2 and Jy, from the native cube and used at every resolution."""
        return measure.kelvin_arcsec2_per_jy(self.header)

    @property
    def kelvin_per_jybeam(self) -> float:
        """Brightness of 1 Jy/beam at the native beam; NaN without a beam."""
        return self.k_arcsec2_per_jy / self.beam.area_arcsec2 if self.beam else math.nan

    @cached_property
    def noise(self) -> Path | None:
        """The native noise cube."""
        return self.shelf.find("derived", "noise")

    def mask(self, name: str) -> Path | None:
        """Return the native strict or broad mask."""
        return self.shelf.find("derived", f"{name}mask")

    @cached_property
    def footprint(self) -> Mask:
        """Pixels with emission in any channel of the strict mask (or the broad one); all False if there is none."""
        path = self.mask("strict") or self.mask("broad")
        if path is None:
            return np.zeros((self.header["NAXIS2"], self.header["NAXIS1"]), dtype=bool)
        with read.open_cube(path) as mask:
            found = np.zeros(mask.shape[1:], dtype=bool)
            for plane in mask.planes():
                found |= plane > 0
        return found

    @cached_property
    def window(self) -> Window:
        """The part of the sky the maps show."""
        return read.window_around(self.footprint)

    @cached_property
    def frame(self) -> Frame:
        """The frame of the maps."""
        return Frame(read.sky(self.header)[self.window.slices], self.pixel_arcsec, self.beam, self.distance_mpc)

    @cached_property
    def full_frame(self) -> Frame:
        """The frame of the whole field."""
        return Frame(read.sky(self.header), self.pixel_arcsec, self.beam, self.distance_mpc)

    def plane(self, *exts: str, tag: str = "") -> tuple[Array, Path]:
        """Return a derived map inside the window, the first of `exts` that is there, and its file."""
        path = self.shelf.need("derived", *exts, tag=tag)
        plane: Plane = read.read_plane(path)
        if plane.data.shape != self.footprint.shape:
            raise CorruptInputError(f"{path.name} has shape {plane.data.shape}, the cube {self.footprint.shape}")
        return plane.cut(self.window), path

    @cached_property
    def gradient(self) -> Gradient:
        """The plane fitted to the strict (or broad) mom1, weighted by mom0, in pixels of the window."""
        velocity, _ = self.plane("strict_mom1", "broad_mom1")
        weight, _ = self.plane("strict_mom0", "broad_mom0")
        return measure.fit_gradient(velocity, weight, self.header)

    @cached_property
    def spectra(self) -> dict[str, Spectrum]:
        """Integrated spectra over the masks that are there."""
        found = {name: self.mask(name) for name in MASKS}
        return {
            f"{name} mask": self.spectrum(self.cube, mask, self.noise)
            for name, mask in found.items()
            if mask is not None
        }

    def spectrum(self, cube: Path, mask: Path, noise: Path | None) -> Spectrum:
        """Return the spectrum of `cube` over `mask`, in Jy."""
        return measure.integrated_spectrum(cube, mask, noise, k_arcsec2_per_jy=self.k_arcsec2_per_jy)

    @cached_property
    def peak_k(self) -> float:
        """Brightness of the brightest voxel; NaN of an empty cube."""
        return measure.peak(self.cube)

    @cached_property
    def mean_velocity_kms(self) -> float | None:
        """Mean velocity of the flux inside the first mask that holds any; None if there is no flux."""
        for one in self.spectra.values():
            weight = np.clip(one.flux_jy, 0, None)
            if weight.sum() > 0:
                return float(np.average(one.velocity_kms, weights=weight))
        return None

    @property
    def vsys_kms(self) -> float:
        """The velocity that velocity maps are centred on: the mean velocity, else the middle of the band."""
        mean = self.mean_velocity_kms
        return float(np.mean(self.velocity_kms)) if mean is None else mean

    @cached_property
    def response(self) -> Path | None:
        """The primary beam on the cube's grid."""
        return self.shelf.find("postprocess", "trimmed_pb")

    def channel_noise_k(self, tag: str = "") -> Array:
        """Return the median noise of each channel, in K; before primary beam correction where the beam is there."""
        path = self.shelf.need("derived", "noise", tag=tag)
        with read.open_cube(path) as noise:
            if self.response is None:
                return measure.channel_noise(noise, None)
            with read.open_cube(self.response, like=noise) as response:
                return measure.channel_noise(noise, response)

    @cached_property
    def noise_k(self) -> float:
        """Median over the channels of `channel_noise_k` at native resolution."""
        return float(np.nanmedian(self.channel_noise_k()))
