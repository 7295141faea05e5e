"""What a failing S3 server is taken for."""

from __future__ import annotations

import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fringeflow.errors import BugError, FringeflowError, ReadOnlyError, TransientError
from fringeflow.store.objects import Store, StoreSettings, open_store

Answer = Callable[[BaseHTTPRequestHandler], None]
MODIFIED = {"Last-Modified": "Sun, 22 Nov 2026 12:00:00 GMT"}


def status(code: int) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.rfile.read(int(request.headers.get("Content-Length", 0)))
        request.send_response(code)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer


def half_a_body(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Length", "1000")
    request.send_header("ETag", '"1"')
    request.send_header("Last-Modified", MODIFIED["Last-Modified"])
    request.end_headers()
    request.wfile.write(b"x" * 10)
    request.wfile.flush()
    request.connection.shutdown(socket.SHUT_RDWR)


def hang_up(request: BaseHTTPRequestHandler) -> None:
    request.connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def failing_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Store]]:
    """A store whose server answers everything in the way given."""
    servers: list[ThreadingHTTPServer] = []
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def start(answer: Answer, **settings: Any) -> Store:
        class Handler(BaseHTTPRequestHandler):
            do_GET = do_PUT = do_HEAD = do_POST = lambda self: answer(self)  # noqa: N815 - the names http.server wants

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return open_store(_settings(server.server_port, **settings))

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def _settings(port: int, **members: Any) -> StoreSettings:
    return StoreSettings(
        url="s3://bucket/prefix",
        endpoint=f"http://127.0.0.1:{port}",
        allow_http=True,
        **{"anonymous": True, "timeout_seconds": 1.0, **members},
    )


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (status(503), TransientError),
        (status(429), TransientError),
        (hang_up, TransientError),
        (status(403), ReadOnlyError),
        (status(400), BugError),
    ],
)
def test_answers_are_told_apart(
    failing_store: Callable[..., Store], answer: Answer, error: type[FringeflowError]
) -> None:
    store = failing_store(answer)
    with pytest.raises(error, match="s3://bucket/prefix"):
        store.put_bytes("a/b", b"x", create=True)
    with pytest.raises(error, match="a/b"):
        store.get_bytes("a/b")


@pytest.mark.parametrize("trouble", [status(503), hang_up], ids=["503", "reset"])
def test_trouble_that_passes_is_borne(failing_store: Callable[..., Store], trouble: Answer) -> None:
    seen: list[str] = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        seen.append(request.command)
        if len(seen) % 3:  # twice in three
            trouble(request)
            return
        request.rfile.read(int(request.headers.get("Content-Length", 0)))
        request.send_response(200)
        for name, value in {"Content-Length": "4", "ETag": '"1"', **MODIFIED}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(b"here" if request.command == "GET" else b"    ")

    store = failing_store(answer, timeout_seconds=20.0)
    assert store.put_bytes("a/b", b"x")
    assert store.get_bytes("a/b") == b"here"
    assert seen == ["PUT"] * 3 + ["GET"] * 3


@pytest.mark.parametrize("answer", [status(403), status(503), status(400), hang_up], ids=["403", "503", "400", "reset"])
def test_no_error_tells_the_credentials(
    failing_store: Callable[..., Store], answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    canaries = {"AWS_ACCESS_KEY_ID": "CANARYID", "AWS_SECRET_ACCESS_KEY": "CANARYSECRET"}
    for name, value in {**canaries, "AWS_SESSION_TOKEN": "CANARYTOKEN"}.items():
        monkeypatch.setenv(name, value)
    store = failing_store(answer, anonymous=False)
    for attempt in (lambda: store.put_bytes("a/b", b"x"), lambda: list(store.list("a")), lambda: store.sweep(0.0)):
        with pytest.raises(FringeflowError) as caught:
            attempt()
        told = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(vars(caught.value))
        assert "CANARY" not in told + repr(store)


def test_a_body_cut_short_is_transient(failing_store: Callable[..., Store], tmp_path: Path) -> None:
    store = failing_store(half_a_body)
    with pytest.raises(TransientError):
        store.get_file("a/b", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_no_server_is_transient() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        store = open_store(_settings(unused.getsockname()[1]))
        with pytest.raises(TransientError, match="did not answer"):
            store.exists("a/b")
        with pytest.raises(TransientError, match="did not answer"):
            list(store.list("a"))
