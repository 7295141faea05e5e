"""A way to the broker that can be cut while a message is on it."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from typing import Literal

_PUBLISH = bytes((0, 60, 0, 40))  # class and method of basic.publish, in the frame that begins a message
_ANSWER_SECONDS = 0.3

Moment = Literal["half", "unconfirmed"]


class Cutter:
    """Passes everything on between a port of its own and that of a broker on loopback.

    `cut` has the next message cut: half of it reaches the broker, or all of it and the answer is lost.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._armed: list[Moment] = []
        self._lock = threading.Lock()
        self.cuts = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, moment: Moment) -> None:
        """Cut the next message."""
        with self._lock:
            self._armed.append(moment)

    def close(self) -> None:
        """Let nobody through any more."""
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                try:
                    broker = socket.create_connection(("127.0.0.1", self._to), timeout=5)
                except OSError:
                    client.close()
                    continue
                broker.settimeout(None)
                threading.Thread(target=self._up, args=(client, broker), daemon=True).start()
                threading.Thread(target=self._down, args=(client, broker), daemon=True).start()

    def _up(self, client: socket.socket, broker: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                at = data.find(_PUBLISH)
                moment = self._disarm() if at >= 0 else None
                if moment == "half":
                    broker.sendall(data[: (at + len(data)) // 2])
                    break
                if moment == "unconfirmed":
                    _end(client)
                    broker.sendall(data)
                    time.sleep(_ANSWER_SECONDS)
                    break
                broker.sendall(data)
        _end(client, broker)

    def _down(self, client: socket.socket, broker: socket.socket) -> None:
        with suppress(OSError):
            while data := broker.recv(65536):
                client.sendall(data)
        _end(client, broker)

    def _disarm(self) -> Moment | None:
        with self._lock:
            if not self._armed:
                return None
            self.cuts += 1
            return self._armed.pop(0)


def _end(*ends: socket.socket) -> None:
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
