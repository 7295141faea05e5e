"""fringeflow: radio-interferometry imaging as a streaming system.

This distribution is the shared core: what the user wants (`keys`), which units follow from it (`graph`), where results
lie (`store`, `manifest`), how services talk (`events`, `bus`), how one unit is run (`jobs`), and the loop of every
service. It holds no science and imports no CASA.
"""

__version__ = "0.1.0"
