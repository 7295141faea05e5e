"""The `noise-map` command: the noise that pointings or the weights of a measurement set predict, place by place."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from fringeflow.cli.console import console


def noise_map(
    sources: Annotated[
        list[Path], typer.Argument(metavar="SOURCE...", help="A measurement set, or CSV tables of pointings.")
    ],
    *,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The FITS image to write.")],
    dish: Annotated[float | None, typer.Option(metavar="M", help="Of the dishes; by default the set's, or 12.")] = None,
    frequency: Annotated[float | None, typer.Option(metavar="GHZ", help="By default the set's, or 230.538.")] = None,
    fwhm: Annotated[float | None, typer.Option(metavar="ARCSEC", help="Of the primary beam, instead.")] = None,
    pixel: Annotated[float | None, typer.Option(metavar="ARCSEC", help="By default a tenth of the beam.")] = None,
    channel: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Only this channel of the set, from 0.")
    ] = None,
    normalise: Annotated[bool, typer.Option("--normalise", help="Divide by the largest value.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Write a map of the noise that is to be expected after correction for the primary beam.

    A measurement set gives Jy/beam for natural weights, from the weights in it. Tables of an observing tool (RA and Dec
    in degrees from the third line on) give relative noise.
    """
    from fringeflow import tools
    from fringeflow.jobs.host import JobHost
    from fringeflow.store.settings import StoreSettings

    out.parent.mkdir(parents=True, exist_ok=True)
    asked: dict[str, Any] = {
        "sources": [source.absolute() for source in sources],
        "out": out.absolute(),
        "dish_m": dish,
        "frequency_ghz": frequency,
        "fwhm_arcsec": fwhm,
        "pixel_arcsec": pixel,
        "channel": channel,
        "normalise": normalise,
    }
    with tempfile.TemporaryDirectory() as folder:
        settings = StoreSettings(url=Path(folder).as_uri())
        with JobHost(Path(folder), settings, with_casa=any(source.is_dir() for source in sources)) as host:
            found = host.call(tools.find("noise-map"), asked)
    if as_json:
        json.dump(found, sys.stdout, indent=1)
        sys.stdout.write("\n")
        return
    size = " x ".join(str(length) for length in found["pixels"])
    shown = console()
    shown.print(f"{found['pointings']} pointings, beam {found['fwhm_arcsec']:.4g} arcsec, {size} pixels")
    shown.print(f"lowest noise {found['lowest']:.4g} {found['unit']}: {found['map']}")
