"""Answers /healthz, /readyz and /metrics over HTTP, in threads of its own, at the address the settings say.

It only reads what the worker's loop has left for it, and never waits for store or broker.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from fringeflow.errors import DataError

_TEXT = "text/plain; charset=utf-8"


@dataclass
class Pulse:
    """What the loop leaves: when it last turned, and why it is not ready to work (empty: it is)."""

    stalled_seconds: float
    turned: float = field(default_factory=time.monotonic)
    complaint: str = "starting"

    def beat(self, complaint: str) -> None:
        """Say that the loop turns."""
        self.turned = time.monotonic()
        self.complaint = complaint

    @property
    def stalled(self) -> bool:
        """Whether the loop has not turned for too long."""
        return time.monotonic() - self.turned > self.stalled_seconds


class Health:
    """The server. Use as a context.

    Parameters
    ----------
    address
        ``host:port``; port 0 for any free one.
    figures
        Returns the figures, and `content_type` is theirs.

    Raises
    ------
    DataError
        Nobody can listen at `address`.
    """

    def __init__(self, address: str, pulse: Pulse, figures: Callable[[], bytes], content_type: str) -> None:
        host, _, port = address.rpartition(":")
        pages = {
            "/healthz": lambda: _page("" if not pulse.stalled else "the loop does not turn"),
            "/readyz": lambda: _page(pulse.complaint),
            "/metrics": lambda: (HTTPStatus.OK, content_type, figures()),
        }
        try:
            self._server = ThreadingHTTPServer((host, int(port)), _handler(pages))
        except (OSError, OverflowError) as error:
            raise DataError(
                f"cannot listen at {address}: {error}", remedy="set FRINGEFLOW_HEALTH__ADDRESS to another host:port"
            ) from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def address(self) -> str:
        """Where it listens."""
        host, port = self._server.server_address[:2]
        return f"{host!s}:{port}"


_Page = Callable[[], tuple[HTTPStatus, str, bytes]]


def _page(complaint: str) -> tuple[HTTPStatus, str, bytes]:
    status = HTTPStatus.SERVICE_UNAVAILABLE if complaint else HTTPStatus.OK
    return status, _TEXT, f"{complaint or 'ok'}\n".encode()


def _handler(pages: dict[str, _Page]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        server_version = "fringeflow"
        sys_version = ""
        timeout = 10  # a client that says nothing holds no thread

        def do_GET(self) -> None:
            page = pages.get(self.path.partition("?")[0])
            status, kind, body = page() if page else (HTTPStatus.NOT_FOUND, _TEXT, b"not here\n")
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            """Say nothing: probes come every few seconds."""

    return Handler
