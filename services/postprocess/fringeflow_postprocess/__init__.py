"""Deconvolved images to science-ready cubes in kelvin."""
