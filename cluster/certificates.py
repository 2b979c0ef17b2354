"""Certificates of an operator's cell: one authority, one certificate for each machine, for TLS between Ray's processes.

Ray asks both ends of every gRPC connection for a certificate of the authority (mutual TLS), so that a machine without one
does not even get to show a token. Keys are ECDSA P-256; the authority's key never leaves the machine that made it.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bithive.clock import Clock
from bithive.errors import BadSettings
from cluster.private_files import write_private

AUTHORITY, AUTHORITY_KEY = "authority.pem", "authority.key"
CERTIFICATE, CERTIFICATE_KEY = "node.pem", "node.key"

_AUTHORITY_DAYS, _MACHINE_DAYS = 3650, 825
_SKEW = timedelta(minutes=5)
_LOOPBACK = ("127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Issued:
    """What one machine shows, its key, and the authority that it asks others for, as PEM."""

    certificate: str
    key: str
    authority: str


def make_authority(folder: Path, operator: str, clock: Clock) -> None:
    """Make the operator's authority in a folder; nothing if it is there.

    Parameters
    ----------
    folder
        `tls` of the head's state.
    operator
        Whose; shown in the certificate.
    clock
        When it begins.
    """
    if (folder / AUTHORITY).exists() and (folder / AUTHORITY_KEY).exists():
        return
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"BitHive cell of {operator}")
    built = _builder(clock, name, name, _AUTHORITY_DAYS).public_key(key.public_key())
    built = built.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    built = built.add_extension(_usage(signs=True), critical=True)
    write_private(folder / AUTHORITY_KEY, _key_pem(key))
    write_private(folder / AUTHORITY, _pem(built.sign(key, hashes.SHA256())))


def issue(folder: Path, address: str, clock: Clock) -> Issued:
    """A certificate for one machine.

    Parameters
    ----------
    folder
        Where `make_authority` made the authority.
    address
        Of the machine in the operator's network; loopback is in every certificate, since Ray checks the peer's address.
    clock
        When it begins.

    Raises
    ------
    BadSettings
        There is no authority here, or the address is none.
    """
    try:
        authority = x509.load_pem_x509_certificate((folder / AUTHORITY).read_bytes())
        signer = serialization.load_pem_private_key((folder / AUTHORITY_KEY).read_bytes(), None)
        addresses = [ipaddress.ip_address(text) for text in dict.fromkeys((address, *_LOOPBACK))]
    except (OSError, ValueError):
        raise BadSettings("there is no authority here, or the address of the machine is none") from None
    assert isinstance(signer, ec.EllipticCurvePrivateKey), "ours are all of one kind"
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), *map(x509.IPAddress, addresses)])
    built = _builder(clock, _name("BitHive node"), authority.subject, _MACHINE_DAYS).public_key(key.public_key())
    built = built.add_extension(names, critical=False)
    built = built.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    built = built.add_extension(both, critical=False).add_extension(_usage(signs=False), critical=True)
    return Issued(_pem(built.sign(signer, hashes.SHA256())).decode(), _key_pem(key).decode(), _pem(authority).decode())


def keep(folder: Path, issued: Issued) -> None:
    """Write what was issued into a machine's `tls` folder, readable by its owner alone."""
    for name, content in (
        (AUTHORITY, issued.authority),
        (CERTIFICATE_KEY, issued.key),
        (CERTIFICATE, issued.certificate),
    ):
        write_private(folder / name, content.encode())


def ray_tls(folder: Path) -> dict[str, str]:
    """Ray's variables for TLS between its processes, from what `keep` wrote. Raises `BadSettings` without it."""
    if not all((folder / name).is_file() for name in (AUTHORITY, CERTIFICATE, CERTIFICATE_KEY)):
        raise BadSettings("the profile wants TLS between machines, but this one has no certificate")
    return {
        "RAY_USE_TLS": "1",
        "RAY_TLS_SERVER_CERT": str(folder / CERTIFICATE),
        "RAY_TLS_SERVER_KEY": str(folder / CERTIFICATE_KEY),
        "RAY_TLS_CA_CERT": str(folder / AUTHORITY),
    }


def _builder(clock: Clock, subject: x509.Name, issuer: x509.Name, days: int) -> x509.CertificateBuilder:
    now = datetime.fromtimestamp(clock.now_ms() / 1000, UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + timedelta(days=days))
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
