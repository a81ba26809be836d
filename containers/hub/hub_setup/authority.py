"""A small authority for one address, and the certificates that it gives.

People whose browsers trust it trust it for this address only: the authority's own certificate says
so. Pure, but for the clock and chance; files are certificates.py's.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_DAYS = 3650
LEAF_DAYS = 397
"""Browsers refuse much longer ones."""
RENEW_DAYS = 30
"""A certificate that ends sooner is made anew."""
_EVERY_ADDRESS = ("0.0.0.0/0", "::/0")


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, both as PEM.

    Attributes:
        certificate: the certificate.
        key: its private key.
    """

    certificate: bytes
    key: bytes

    @property
    def parsed(self) -> x509.Certificate:
        """The certificate, read.

        Raises:
            ValueError: it is none.
        """
        return x509.load_pem_x509_certificate(self.certificate)


def names_of(host: str, subdomains: bool = False) -> list[x509.GeneralName]:
    """Return the names that a certificate for a host has.

    Args:
        host: a name or an IP address, without brackets.
        subdomains: whether each person's lab has a name below it.
    """
    try:
        return [x509.IPAddress(ipaddress.ip_address(host))]
    except ValueError:
        name = host.encode("idna").decode().lower()
        return [x509.DNSName(name), *([x509.DNSName(f"*.{name}")] if subdomains else [])]


def new_authority(host: str, now: datetime) -> Pair:
    """Return an authority for a host and the names below it."""
    key = ec.generate_private_key(ec.SECP256R1())
    [name] = names_of(host)
    if isinstance(name, x509.IPAddress):
        only = ipaddress.ip_network(name.value)
        constraints = x509.NameConstraints([x509.IPAddress(only)], [x509.DNSName("")])
    else:
        # A constraint is on names of its own kind: without the second part it could vouch for any
        # address in numbers.
        others = [x509.IPAddress(ipaddress.ip_network(net)) for net in _EVERY_ADDRESS]
        constraints = x509.NameConstraints([name], others)
    subject = _called(f"familiar hub on {host}"[:64])
    usage = _usage(key_cert_sign=True, crl_sign=True)
    builder = (
        _builder(subject, subject, key, now, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(constraints, critical=True)
    )
    return _signed(builder, key, key)


def new_leaf(authority: Pair, names: Sequence[x509.GeneralName], now: datetime) -> Pair:
    """Return a certificate for these names."""
    key = ec.generate_private_key(ec.SECP256R1())
    by, signer = authority.parsed, _key(authority)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    builder = (
        # Not the host: some would read it as one more name, of the kind that may be excluded.
        _builder(_called("familiar hub"), by.subject, key, now, LEAF_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(purpose, critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(issuer, critical=False)
    )
    return _signed(builder, key, signer)


def why_new_authority(authority: Pair | None, host: str, now: datetime) -> str:
    """Return why an authority has to be made, in a few words; empty if this one does."""
    if authority is None:
        return "there was none"
    try:
        found = authority.parsed
        constraints = found.extensions.get_extension_for_class(x509.NameConstraints).value
        matches = _matches(authority)
    except (ValueError, x509.ExtensionNotFound):
        return "the one there was cannot be read"
    if not matches:
        return "the one there was has another key"
    if _plain(names_of(host)[0]) not in map(_plain, constraints.permitted_subtrees or ()):
        return "the one there was is for another address"
    if found.not_valid_after_utc < now + timedelta(days=LEAF_DAYS):
        return "the one there was ends soon"
    return ""


def why_new_leaf(
    leaf: Pair | None, authority: Pair, names: Sequence[x509.GeneralName], now: datetime
) -> str:
    """Return why a certificate has to be made, in a few words; empty if this one does."""
    if leaf is None:
        return "there was none"
    try:
        found = leaf.parsed
        found.verify_directly_issued_by(authority.parsed)
        matches = _matches(leaf)
    except (ValueError, TypeError, InvalidSignature):
        return "the one there was is not this authority's"
    if not matches:
        return "the one there was has another key"
    if set(names_in(found)) != set(map(_plain, names)):
        return "the one there was has other names"
    if found.not_valid_after_utc < now + timedelta(days=RENEW_DAYS):
        return "the one there was ends soon"
    return ""


def why_not(leaf: Pair, names: Sequence[x509.GeneralName], now: datetime) -> str:
    """Return why somebody's own certificate will not do, in a few words; empty if it does."""
    try:
        found = leaf.parsed
    except ValueError:
        return "is no certificate in PEM"
    try:
        if not _matches(leaf):
            return "does not belong to the key"
    except (ValueError, TypeError):
        return "has a key that is none in PEM, or has a passphrase"
    if found.not_valid_after_utc <= now:
        return f"ended on {found.not_valid_after_utc:%Y-%m-%d}"
    has = {str(name) for name in names_in(found)}
    for name in map(str, map(_plain, names)):
        if name not in has and f"*.{name.partition('.')[2]}" not in has:
            return f"is not for {name}"
    return ""


def names_in(certificate: x509.Certificate) -> list[object]:
    """Return the names that a certificate is for; none if it has no list of them."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return [_plain(name) for name in found.value]


def fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 digest of a certificate, as browsers show it."""
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


def _plain(name: x509.GeneralName) -> object:
    value = name.value
    if isinstance(value, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return value.network_address
    return value


def _key(pair: Pair) -> ec.EllipticCurvePrivateKey:
    found = serialization.load_pem_private_key(pair.key, None)
    if not isinstance(found, ec.EllipticCurvePrivateKey):
        raise ValueError("not a key of ours")
    return found


def _matches(pair: Pair) -> bool:
    """Say whether a certificate belongs to its key, which may be of any kind."""
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    key = serialization.load_pem_private_key(pair.key, None).public_key()
    return key.public_bytes(*form) == pair.parsed.public_key().public_bytes(*form)


def _called(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, at: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # Clocks differ a little.
        .not_valid_before(at - timedelta(hours=1))
        .not_valid_after(at + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(**wanted: bool) -> x509.KeyUsage:
    kinds = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
        "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{kind: wanted.get(kind, False) for kind in kinds})


def _signed(
    builder: x509.CertificateBuilder,
    key: ec.EllipticCurvePrivateKey,
    by: ec.EllipticCurvePrivateKey,
) -> Pair:
    certificate = builder.sign(by, hashes.SHA256())
    return Pair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
