"""Calibrated measurement sets to imaging-ready visibilities."""
