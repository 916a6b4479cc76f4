"""Certificates this installation makes for itself: an authority of its own, a pair for each who connects.

EC P-256 throughout. The authority is kept for ten years and renewed under the same key, so that who trusts
the old certificate goes on trusting what the key signs. A pair is kept until it has less than ``RENEW`` left,
no longer fits its key, its names or the authority, and is then made anew; so asking again at every start is
what keeps them fresh.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fengsui.errors import SettingsError
from server import secrets

AUTHORITY_LASTS = timedelta(days=3650)
PAIR_LASTS = timedelta(days=397)
"""What browsers accept of a server."""
RENEW = timedelta(days=30)
_BACKDATED = timedelta(hours=1)
"""So that a gateway whose clock is a little slow accepts a certificate made just now."""


class Authority:
    """Who signs; made by :meth:`keep`."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._key = key
        self.certificate = certificate

    @classmethod
    def keep(cls, folder: Path, now: datetime) -> Authority:
        """The authority of ``folder`` (``ca.key``, ``ca.crt``), made if there is none yet.

        Raises:
            SettingsError: Its key cannot be read. It is not replaced: nobody would trust the new one.
        """
        key_file, file = folder / "ca.key", folder / "ca.crt"
        if key_file.exists():
            key = _read_key(key_file)
            if key is None:
                text = "not a private key; restore it from the backup, or move it away to begin anew"
                raise SettingsError(key_file, text)
        else:
            key = ec.generate_private_key(ec.SECP256R1())
            secrets.write(key_file, _key_text(key))
        certificate = _read(file)
        if (
            certificate is None
            or certificate.public_key() != key.public_key()
            or certificate.not_valid_after_utc - now < PAIR_LASTS
        ):
            certificate = _sign_itself(key, now)
            secrets.write(file, _text(certificate))
        return cls(key, certificate)

    def keep_pair(
        self,
        file: Path,
        key_file: Path,
        name: str,
        now: datetime,
        *,
        reached_as: Sequence[str] = (),
    ) -> bool:
        """See that ``file`` and ``key_file`` are a good pair; True if it had to be made.

        Args:
            file: The certificate, PEM.
            key_file: Its private key, PEM.
            name: Common name.
            now: Aware.
            reached_as: Host names and addresses of a server; none: a client.
        """
        wanted = [_general_name(host) for host in dict.fromkeys(reached_as)]
        if self._is_good(file, key_file, name, wanted, now):
            return False
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.SERVER_AUTH if wanted else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = (
            _builder(name, self.certificate.subject, key.public_key(), now, PAIR_LASTS)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )
        if wanted:
            builder = builder.add_extension(x509.SubjectAlternativeName(wanted), critical=False)
        secrets.write(key_file, _key_text(key))
        secrets.write(file, _text(builder.sign(self._key, hashes.SHA256())))
        return True

    def _is_good(
        self, file: Path, key_file: Path, name: str, wanted: Sequence[x509.GeneralName], now: datetime
    ) -> bool:
        certificate, key = _read(file), _read_key(key_file)
        if certificate is None or key is None or certificate.public_key() != key.public_key():
            return False
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except (InvalidSignature, ValueError):
            return False
        try:
            found = list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        except x509.ExtensionNotFound:
            found = []
        return (
            certificate.subject == _named(name)
            and set(found) == set(wanted)
            and certificate.not_valid_after_utc - now >= RENEW
        )


def _sign_itself(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    name = "Fengsui authority of this installation"
    return (
        _builder(name, _named(name), key.public_key(), now, AUTHORITY_LASTS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _builder(
    name: str, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, lasts: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + lasts)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _read(file: Path) -> x509.Certificate | None:
    """The certificate of a file; None if there is none."""
    try:
        return x509.load_pem_x509_certificate(file.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def _read_key(file: Path) -> ec.EllipticCurvePrivateKey | None:
    """The key of a file; None if there is none of our kind."""
    try:
        key = serialization.load_pem_private_key(file.read_bytes(), password=None)
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return key if isinstance(key, ec.EllipticCurvePrivateKey) else None


def _text(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_text(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
