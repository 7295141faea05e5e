"""Messages between and inside services: topology, publish, consume, the journal and what follows a failure."""

from fringeflow.bus.bus import Bus
from fringeflow.bus.delivery import DeadMessage, Delivery
from fringeflow.bus.settings import BusSettings

__all__ = ["Bus", "BusSettings", "DeadMessage", "Delivery"]
