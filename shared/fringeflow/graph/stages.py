"""The names of the stages, in the order in which products pass through them; here, so that they can be had alone."""

from __future__ import annotations

STAGES: tuple[str, ...] = ("staging", "imaging", "postprocess", "derived")
CASA_STAGES: tuple[str, ...] = ("staging", "imaging")
"""Stages whose jobs use CASA."""
