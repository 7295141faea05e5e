"""Structured logs: one explicit configuration, of structlog and of the standard library, with secrets left out.

It knows nothing of what is logged. `about` binds the unit and the run to everything logged inside it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

HIDDEN = "***"
# a password inside a url; an AWS access key id; a signature or token of a signed url
_IN_TEXT = (
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s/:@]*):[^\s/]+@", re.IGNORECASE), rf"\1:{HIDDEN}@"),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), HIDDEN),
    (re.compile(r"((?:X-Amz-Signature|X-Amz-Security-Token|X-Amz-Credential)=)[^&\s]+", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(r"\b(\w*(?:secret|token|password)\w*\s*[=:]\s*)[^\s,;&]+", re.IGNORECASE), rf"\1{HIDDEN}"),
)
_SECRET_NAME = re.compile(r"password|passwd|secret|token|credential|access_?key|private_?key", re.IGNORECASE)


def configure(format: Literal["json", "console"], level: str, stream: TextIO) -> None:  # noqa: A002  the setting's name
    """Send all logs of this process to `stream`, one JSON object or one readable line each.

    Calling it again replaces the earlier configuration.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    renderer: Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False, default=str)
        if format == "json"
        else structlog.dev.ConsoleRenderer(colors=stream.isatty())
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                redact,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("amqp", "kombu", "botocore", "boto3", "urllib3"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))
    logging.getLogger("pika").setLevel(logging.CRITICAL)  # it logs, several times over, what it raises anyway
    logging.captureWarnings(capture=True)


@contextmanager
def about(**values: str) -> Iterator[None]:
    """Bind `values` (unit, run, ...) to everything logged inside."""
    with structlog.contextvars.bound_contextvars(**values):
        yield


def redact(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Leave secrets out of an event: values whose name says so, and what looks like one inside a text."""
    del logger, method  # what structlog tells every processor
    return {name: _clean(value, name) for name, value in event.items()}


def without_secrets(text: str) -> str:
    """Return `text` with passwords in urls, access keys and signatures replaced."""
    for pattern, replacement in _IN_TEXT:
        text = pattern.sub(replacement, text)
    return text


def _clean(value: Any, name: str) -> Any:
    if _SECRET_NAME.search(name) and value is not None:
        return HIDDEN
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, dict):
        return {key: _clean(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(inner, "") for inner in value]
    if isinstance(value, (int, float, bool, type(None))):
        return value
    return without_secrets(str(value))
