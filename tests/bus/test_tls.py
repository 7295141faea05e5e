"""The bus over TLS: a real broker behind a TLS door of this test, with certificates made for it."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl

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


@pytest.fixture
def tls_url(open_door):
    """Open a TLS door to the broker with a certificate chain; return its url."""

    def make(chain):
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(chain)
        return f"amqps://guest:guest@127.0.0.1:{open_door(context=context).port}//"

    return make


LOOPBACK = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))


def test_messages_pass_over_tls(tls_url, bus_on, tmp_path, take, task, fact):
    chain = certificate(tmp_path, "broker", LOOPBACK)
    bus = bus_on(tls_url(chain), tls_ca=chain)
    bus.order(task())
    assert [delivery.message for delivery in take(bus, "imaging", "tasks")] == [task()]
    event = fact("cube.imaged", "imaging")
    bus.announce(event)
    bus.drain(0.3)
    assert [found for _, found in StreamJournal(bus.settings, idle_seconds=0.3).read()] == [event]


@pytest.mark.parametrize("flaw", ["another authority", "another host"])
def test_a_broker_that_cannot_prove_itself_is_not_talked_to(tls_url, tmp_path, flaw):
    names = [LOOPBACK] if flaw == "another authority" else [x509.DNSName("elsewhere.example")]
    chain = certificate(tmp_path, "broker", *names)
    trusted = certificate(tmp_path, "other", LOOPBACK) if flaw == "another authority" else chain
    settings = BusSettings(url=tls_url(chain), tls_ca=trusted, startup_seconds=0)
    with pytest.raises(TransientError, match=r"(?i)certificate"):
        Bus(settings).declare(["imaging"])
    with pytest.raises(TransientError, match=r"(?i)certificate"):
        list(StreamJournal(settings).read())
