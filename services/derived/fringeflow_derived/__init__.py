"""Cubes to noise, masks and moment maps with uncertainties."""
