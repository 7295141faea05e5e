"""No credential is told, least of all when it is refused and the reason is said again and again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.broker import Broker
from tests.worker.conftest import STAGES, House

pytestmark = pytest.mark.xdist_group("distributed")

CANARY = "canary-in-the-password"


@pytest.mark.parametrize("place", ["password", "url"])
def test_a_password_that_is_refused_stays_secret(
    tmp_path: Path, mortal_broker: Broker, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    house = House(tmp_path, mortal_broker)
    house.settings |= {"LOG__LEVEL": "debug", "BUS__STARTUP_SECONDS": "2"}
    if place == "password":
        house.settings |= {"BUS__USERNAME": "guest", "BUS__PASSWORD": CANARY}
    else:
        house.settings["BUS__URL"] = mortal_broker.url.replace("guest:guest@", f"guest:{CANARY}@")
    house.keys("a")
    house.drop("a")
    worker = house.work(*STAGES)
    try:
        house.wait_for(lambda: worker.poll() is not None or "broker" in house.logs())
    finally:
        house.end()
    said = house.logs()
    assert str(mortal_broker.port) in said
    assert CANARY not in said
    assert CANARY.encode() not in b"".join(house.store.get_bytes(info.key) for info in house.store.list())
