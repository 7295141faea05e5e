"""A worker that takes one task and then hangs: for tests that kill it. Arguments: url, prefix, delivery limit."""

from __future__ import annotations

import sys
import time

from fringeflow.bus import Bus, BusSettings

url, prefix, limit = sys.argv[1:]
bus = Bus(BusSettings(url=url, prefix=prefix, delivery_limit=int(limit)))
bus.declare(["imaging"])
while not (deliveries := bus.take_tasks("imaging")):
    bus.drain(0.5)
sys.stdout.write(f"{deliveries[0].deliveries}\n")
sys.stdout.flush()
time.sleep(600)
