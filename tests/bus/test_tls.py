"""The bus over TLS: a real broker behind a TLS door of this test, with certificates made for it."""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import ssl
import threading
from contextlib import suppress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fringeflow.bus import Bus, BusSettings
from fringeflow.bus.journal import StreamJournal
from fringeflow.errors import TransientError

pytestmark = pytest.mark.xdist_group("rabbitmq")


def certificate(folder, name, *alternative_names):
    """Write a self-signed certificate and its key as ``<name>.pem``."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(alternative_names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return path


def copy(source, sink):
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


class Door:
    """Takes TLS connections and passes what they say to a port."""

    def __init__(self, chain, port):
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(chain)
        self._behind = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._listener.close()

    def _accept(self):
        with suppress(OSError):
            while True:
                plain, _ = self._listener.accept()
                with suppress(OSError):  # a client that does not trust us ends the handshake
                    self._join(self._context.wrap_socket(plain, server_side=True))

    def _join(self, outside):
        inside = socket.create_connection(("127.0.0.1", self._behind))
        for pair in ((outside, inside), (inside, outside)):
            threading.Thread(target=copy, args=pair, daemon=True).start()


@pytest.fixture
def open_door(broker):
    doors = []

    def make(chain):
        doors.append(Door(chain, broker.port))
        return f"amqps://guest:guest@127.0.0.1:{doors[-1].port}//"

    yield make
    for door in doors:
        door.close()


LOOPBACK = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))


def test_messages_pass_over_tls(open_door, bus_on, tmp_path, take, task, fact):
    chain = certificate(tmp_path, "broker", LOOPBACK)
    bus = bus_on(open_door(chain), tls_ca=chain)
    bus.order(task())
    assert [delivery.message for delivery in take(bus, "imaging", "tasks")] == [task()]
    event = fact("cube.imaged", "imaging")
    bus.announce(event)
    bus.drain(0.3)
    assert [found for _, found in StreamJournal(bus.settings, idle_seconds=0.3).read()] == [event]


@pytest.mark.parametrize("flaw", ["another authority", "another host"])
def test_a_broker_that_cannot_prove_itself_is_not_talked_to(open_door, tmp_path, flaw):
    names = [LOOPBACK] if flaw == "another authority" else [x509.DNSName("elsewhere.example")]
    chain = certificate(tmp_path, "broker", *names)
    trusted = certificate(tmp_path, "other", LOOPBACK) if flaw == "another authority" else chain
    settings = BusSettings(url=open_door(chain), tls_ca=trusted)
    with pytest.raises(TransientError, match=r"(?i)certificate"):
        Bus(settings).declare(["imaging"])
    with pytest.raises(TransientError, match=r"(?i)certificate"):
        list(StreamJournal(settings).read())
