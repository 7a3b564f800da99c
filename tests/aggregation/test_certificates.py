import socket
import ssl
from datetime import UTC, datetime, timedelta
from threading import Thread

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedpersona.aggregation.certificates import Authority, authority_der, new_signing_key, operator_public, signing_key
from fedpersona.errors import DataError, DataNotFound


def write(folder, name, data):
    path = folder / name
    path.write_bytes(data)
    return path


def shake_hands(folder, authority, issued, host):
    """Do a TLS handshake as a device and a front would; return the error of the device, if any."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(write(folder, "c.pem", issued.certificate), write(folder, "k.pem", issued.key))
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.load_verify_locations(cadata=authority.pem.certificate.decode())
    trusting.verify_flags |= ssl.VERIFY_X509_STRICT
    near, far = socket.socketpair()

    def serve():
        try:
            serving.wrap_socket(far, server_side=True).close()
        except OSError:
            far.close()

    thread = Thread(target=serve)
    thread.start()
    try:
        trusting.wrap_socket(near, server_hostname=host).close()
    except ssl.SSLError as error:
        near.close()
        return error
    finally:
        thread.join()
    return None


@pytest.mark.parametrize("host", ["music.example.org", "127.0.0.1", "::1"])
def test_a_device_that_pins_the_authority_trusts_the_front(tmp_path, host):
    authority = Authority.create("Jazz")
    issued = authority.issue("front", ["music.example.org", "127.0.0.1", "::1"])
    assert shake_hands(tmp_path, authority, issued, host) is None


def test_another_host_and_another_authority_are_not_trusted(tmp_path):
    authority, other = Authority.create("Jazz"), Authority.create("Jazz")
    issued = authority.issue("front", ["127.0.0.1"])
    assert "mismatch" in str(shake_hands(tmp_path, authority, issued, "127.0.0.2"))
    assert shake_hands(tmp_path, other, issued, "127.0.0.1") is not None


def test_a_certificate_of_the_front_can_sign_no_other(tmp_path):
    authority = Authority.create("Jazz")
    front = authority.issue("front", ["127.0.0.1"])
    certificate, key = write(tmp_path, "f.pem", front.certificate), write(tmp_path, "fk.pem", front.key)
    forged = Authority.load(certificate, key).issue("front", ["127.0.0.1"])
    assert shake_hands(tmp_path, authority, forged, "127.0.0.1") is not None
    chained = type(forged)(forged.certificate + front.certificate, forged.key)
    assert shake_hands(tmp_path, authority, chained, "127.0.0.1") is not None


def test_the_authority_is_for_ten_years_and_for_no_further_authority():
    now = datetime(2026, 1, 31, tzinfo=UTC)
    found = x509.load_pem_x509_certificate(Authority.create("Jazz", now).pem.certificate)
    constraints = found.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)
    assert found.not_valid_after_utc - now == timedelta(days=3650)
    assert found.not_valid_before_utc == now - timedelta(days=1)


def test_an_authority_read_back_issues_what_devices_trust(tmp_path):
    authority = Authority.create("x" * 500)
    pem = authority.pem
    again = Authority.load(write(tmp_path, "a.pem", pem.certificate), write(tmp_path, "ak.pem", pem.key))
    assert shake_hands(tmp_path, authority, again.issue("front", ["127.0.0.1"]), "127.0.0.1") is None
    der = authority_der(tmp_path / "a.pem")
    assert x509.load_der_x509_certificate(der) == x509.load_pem_x509_certificate(pem.certificate)


def test_the_signing_key_comes_back_and_its_public_half_is_32_bytes(tmp_path):
    path = write(tmp_path, "o.pem", new_signing_key())
    assert isinstance(signing_key(path), Ed25519PrivateKey)
    assert operator_public(path) == signing_key(path).public_key().public_bytes_raw()
    assert len(operator_public(path)) == 32


@pytest.mark.parametrize("raw", [b"", b"nonsense", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_what_is_no_key_or_certificate_says_so_and_does_not_repeat_it(tmp_path, raw):
    path = write(tmp_path, "x.pem", raw)
    for read in (signing_key, authority_der):
        with pytest.raises(DataError, match=r"x\.pem") as caught:
            read(path)
        assert "AAAA" not in str(caught.value)
        with pytest.raises(DataNotFound):
            read(tmp_path / "none.pem")


def test_a_key_of_another_kind_is_no_signing_key(tmp_path):
    with pytest.raises(DataError, match="Ed25519"):
        signing_key(write(tmp_path, "ec.pem", Authority.create("Jazz").pem.key))


def test_no_private_key_is_printed():
    authority = Authority.create("Jazz")
    for shown in (repr(authority), repr(authority.pem), repr(authority.issue("a", ["b"]))):
        assert "PRIVATE" not in shown
        assert "PrivateKey" not in shown
