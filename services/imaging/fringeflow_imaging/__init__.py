"""Visibilities to deconvolved image cubes."""
