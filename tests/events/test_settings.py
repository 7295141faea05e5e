"""The settings and the environment they come from."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from fringeflow.settings import Settings


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch):
    import os

    for name in [name for name in os.environ if name.startswith("FRINGEFLOW_")]:
        monkeypatch.delenv(name)


def test_without_an_environment_all_is_embedded():
    settings = Settings()
    assert settings.bus.in_memory
    assert settings.store is None


def test_nested_values_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("FRINGEFLOW_BUS__URL", "amqp://broker/")
    monkeypatch.setenv("FRINGEFLOW_BUS__PASSWORD", "opensesame")
    monkeypatch.setenv("FRINGEFLOW_LOG__FORMAT", "json")
    monkeypatch.setenv("FRINGEFLOW_JOBS__MEMORY_CLASSES_MB", '{"small": 1, "medium": 2, "large": 3}')
    monkeypatch.setenv("FRINGEFLOW_STORE__URL", "s3://bucket/prefix")
    settings = Settings()
    assert (settings.bus.url, settings.log.format) == ("amqp://broker/", "json")
    assert settings.jobs.memory_classes_mb["medium"] == 2
    assert settings.store.url == "s3://bucket/prefix"
    assert settings.bus.password.get_secret_value() == "opensesame"
    assert "opensesame" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FRINGEFLOW_BUS__ULR", "amqp://broker/"),
        ("FRINGEFLOW_LOG__FORMAT", "yaml"),
        ("FRINGEFLOW_JOBS__COUNT", "0"),
        ("FRINGEFLOW_JOBS__MEMORY_CLASSES_MB", '{"small": 3, "medium": 2, "large": 1}'),
        ("FRINGEFLOW_JOBS__MEMORY_CLASSES_MB", '{"small": 3}'),
    ],
)
def test_what_makes_no_sense_is_refused(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError):
        Settings()
