"""What is logged, and what never is."""

from __future__ import annotations

import io
import json
import logging
import warnings

import pytest
import structlog

from fringeflow import logs


@pytest.fixture
def stream():
    """Let a test configure the logs, and restore them."""
    root, warn = logging.getLogger(), warnings.showwarning
    before = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:], root.level = before
    logging.captureWarnings(capture=False)
    warnings.showwarning = warn
    structlog.reset_defaults()


def lines(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_log_line_is_one_json_object_with_unit_and_run(stream):
    logs.configure("json", "info", stream)
    with logs.about(unit="imaging/a/b/c", run="r1"):
        structlog.get_logger("room").info("plane written", plane=3)
    structlog.get_logger("room").info("after")
    first, second = lines(stream)
    assert first.pop("timestamp").endswith("Z")
    assert first == {
        "event": "plane written", "level": "info", "logger": "room", "plane": 3, "run": "r1", "unit": "imaging/a/b/c",
    }  # fmt: skip
    assert "unit" not in second


def test_the_standard_library_takes_the_same_way(stream):
    logs.configure("json", "info", stream)
    with logs.about(unit="u"):
        logging.getLogger("other").warning("%s of %d", "one", 2)
        warnings.warn("careful", stacklevel=1)
    said, warned = lines(stream)
    assert (said["event"], said["level"], said["unit"]) == ("one of 2", "warning", "u")
    assert "careful" in warned["event"]


def test_the_level_holds_and_configuring_again_replaces(stream):
    logs.configure("json", "error", io.StringIO())
    logs.configure("json", "warning", stream)
    structlog.get_logger("room").info("no")
    logging.getLogger("other").info("no")
    structlog.get_logger("room").warning("yes")
    assert [line["event"] for line in lines(stream)] == ["yes"]


def test_the_console_has_one_readable_line(stream):
    logs.configure("console", "info", stream)
    structlog.get_logger("room").info("plane written", plane=3)
    assert "plane written" in stream.getvalue()
    assert "plane=3" in stream.getvalue()
    assert stream.getvalue().count("\n") == 1


def test_a_traceback_is_kept_and_cleaned(stream):
    logs.configure("json", "info", stream)
    try:
        int("amqp://me:opensesame@broker:5672//")
    except ValueError:
        structlog.get_logger("room").exception("failed")
        logging.getLogger("other").exception("failed")
    assert all("amqp://me:***@broker" in line["exception"] for line in lines(stream))
    assert "opensesame" not in stream.getvalue()


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("to amqps://me:p%40ss:w0rd@broker:5671/vhost", "p%40ss"),
        ("https://:tok@host/x", "tok@"),
        ("key AKIAIOSFODNN7EXAMPLE used", "AKIAIOSFODNN7EXAMPLE"),
        ("GET https://s3/x?a=1&X-Amz-Signature=abcdef0123&b=2", "abcdef0123"),
        ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG", "wJalrXUtnFEMI"),
        ("password=hunter2, next", "hunter2"),
    ],
)
def test_secrets_inside_a_text_are_hidden(text, secret):
    assert secret not in logs.without_secrets(text)
    assert "***" in logs.without_secrets(text)


@pytest.mark.parametrize(
    "text", ["amqp://broker:5672/", "s3://bucket/a:b@c", "imaging/ngc5921/vla/hi21cm: 3 of 5", "me@host: 1"]
)
def test_what_is_no_secret_stays(text):
    assert logs.without_secrets(text) == text


def test_secrets_are_hidden_by_their_name_at_any_depth(stream):
    logs.configure("json", "info", stream)
    settings = {"url": "amqp://a:b1b2@c/", "inner": [{"aws_secret_access_key": "s3cr3t", "region": "eu"}]}
    structlog.get_logger("room").info("settings", settings=settings, password="pw1", token=None)
    (line,) = lines(stream)
    assert line["settings"] == {
        "url": "amqp://a:***@c/", "inner": [{"aws_secret_access_key": "***", "region": "eu"}],
    }  # fmt: skip
    assert (line["password"], line["token"]) == ("***", None)
