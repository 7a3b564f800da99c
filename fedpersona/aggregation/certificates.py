"""A server's own authority, its certificates, and the operator's signing key."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedpersona.errors import DataError, DataNotFound

__all__ = ["Authority", "Issued", "authority_der", "new_signing_key", "operator_public", "signing_key"]

_YEARS = 10
_DAYS_OF_A_LEAF = 820  # what clients take at most is 825
_BACKDATED = timedelta(days=1)  # a device's clock may be slow


@dataclass(frozen=True)
class Issued:
    """A certificate with its key, both PEM."""

    certificate: bytes
    key: bytes = field(repr=False)


@dataclass(frozen=True)
class Authority:
    """A local authority: signs the certificates of this server, and nothing else is trusted by its devices."""

    _certificate: x509.Certificate
    _key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def create(cls, name: str, now: datetime | None = None) -> Authority:
        """Make one on the curve P-256, for ten years, which can sign no further authority."""
        key = ec.generate_private_key(ec.SECP256R1())
        begins = now or datetime.now(UTC)
        certificate = (
            _builder(_called(f"{name[:48]} authority"), key.public_key(), begins, timedelta(days=365 * _YEARS))
            .issuer_name(_called(f"{name[:48]} authority"))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    @classmethod
    def load(cls, certificate: Path, key: Path) -> Authority:
        """Read one back.

        Raises:
            DataNotFound: a file is missing.
            DataError: a file is not what it should be.
        """
        found = _private(key)
        if not isinstance(found, ec.EllipticCurvePrivateKey):
            raise DataError("is no EC key of an authority", path=key)
        return cls(_first_certificate(certificate), found)

    @property
    def pem(self) -> Issued:
        """Its own certificate and key."""
        return Issued(self._certificate.public_bytes(Encoding.PEM), _pem(self._key))

    def issue(self, name: str, hosts: Sequence[str], now: datetime | None = None) -> Issued:
        """Issue a server certificate.

        Args:
            name: common name, for people.
            hosts: host names and IP addresses that it is for.
            now: when it begins, by default now; it is dated back by a day, for slow clocks.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        identifier = self._certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        certificate = (
            _builder(_called(name), key.public_key(), now or datetime.now(UTC), timedelta(days=_DAYS_OF_A_LEAF))
            .issuer_name(self._certificate.subject)
            .add_extension(x509.SubjectAlternativeName([_alternative(host) for host in hosts]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return Issued(certificate.public_bytes(Encoding.PEM), _pem(key))


def new_signing_key() -> bytes:
    """Return a new Ed25519 private key, PEM."""
    return _pem(Ed25519PrivateKey.generate())


def signing_key(path: Path) -> Ed25519PrivateKey:
    """Read the operator's signing key.

    Raises:
        DataNotFound: there is none.
        DataError: it is no Ed25519 key, or has a passphrase.
    """
    found = _private(path)
    if not isinstance(found, Ed25519PrivateKey):
        raise DataError("is no Ed25519 key: give the operator's signing key", path=path)
    return found


def operator_public(path: Path) -> bytes:
    """Return the public half of the signing key in a file, 32 bytes."""
    return signing_key(path).public_key().public_bytes_raw()


def authority_der(path: Path) -> bytes:
    """Return the first certificate of a PEM file, DER: what an invitation pins."""
    return _first_certificate(path).public_bytes(Encoding.DER)


def _private(path: Path) -> object:
    if not path.is_file():
        raise DataNotFound("no key is here: 'fedpersona serve init' makes one, or restore your copy", path=path)
    try:
        return load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise DataError("is no PEM private key without a passphrase", path=path) from None


def _first_certificate(path: Path) -> x509.Certificate:
    if not path.is_file():
        raise DataNotFound("no certificate is here: restore your copy, or mend the path in server.toml", path=path)
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())[0]
    except (ValueError, IndexError):
        raise DataError("is no PEM certificate", path=path) from None


def _pem(key: ec.EllipticCurvePrivateKey | Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _called(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return x509.DNSName(host)


def _builder(
    subject: x509.Name, public: ec.EllipticCurvePublicKey, begins: datetime, lasts: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins - _BACKDATED)
        .not_valid_after(begins + lasts)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
