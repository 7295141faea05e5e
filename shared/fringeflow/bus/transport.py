"""The doors to kombu: its classes by name, and one connection of each kind that it can make.

Kombu says that it is typed and is not; it comes in here as `Any`, so that everything else stays strictly checked.
"""

from __future__ import annotations

import ssl
from collections import defaultdict
from typing import Any

import kombu.connection
import kombu.entity
import kombu.messaging
import kombu.transport.memory
import kombu.transport.virtual

from fringeflow.bus.settings import BusSettings

Consumer: Any = kombu.messaging.Consumer
Producer: Any = kombu.messaging.Producer
Exchange: Any = kombu.entity.Exchange
Queue: Any = kombu.entity.Queue
binding: Any = kombu.entity.binding
_Connection: Any = kombu.connection.Connection
_BrokerState: Any = kombu.transport.virtual.BrokerState


def connection_to(settings: BusSettings, memory: type | None) -> Any:
    """Return a connection, not yet connected: to the broker of `settings` or, if `memory` is given, inside it."""
    if memory is not None:
        return _Connection("memory://", transport=memory)
    connection = _Connection(
        settings.url,
        heartbeat=settings.heartbeat_seconds,
        connect_timeout=settings.connect_timeout_seconds,
        ssl=_tls(settings) if settings.encrypted else False,
        transport_options={
            # of each wait for an answer, so that a broker that hangs is noticed
            "read_timeout": settings.confirm_timeout_seconds,
            "write_timeout": settings.confirm_timeout_seconds,
        },
    )
    # kombu prefers what the url says to its own arguments
    if settings.username is not None:
        connection.userid = settings.username
    if settings.password is not None:
        connection.password = settings.password.get_secret_value()
    return connection


def private_memory() -> type:
    """Return kombu's transport inside the process with a state of its own, which else is global to the process."""
    channel = type("PrivateChannel", (kombu.transport.memory.Channel,), {"queues": {}, "events": defaultdict(set)})
    state = {"Channel": channel, "global_state": _BrokerState()}
    return type("PrivateTransport", (kombu.transport.memory.Transport,), state)


def _tls(settings: BusSettings) -> dict[str, Any]:
    return {
        "cert_reqs": ssl.CERT_REQUIRED,
        "server_hostname": None,  # kombu puts the host of the url there, which is then checked
        "ca_certs": str(settings.tls_ca),
        "certfile": settings.tls_certificate and str(settings.tls_certificate),
        "keyfile": settings.tls_key and str(settings.tls_key),
    }
