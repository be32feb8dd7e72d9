"""Station certificates: what the authority signs and refuses, and how OCPP names a certificate."""

from __future__ import annotations

import hashlib
from base64 import encodebytes
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from station_pki import (
    CN,
    NOW,
    OPERATOR,
    STATION,
    O,
    ca,
    name,
    p256,
    private_pem,
    request,
    station_name,
)

from connectors.ocpp.door.certificates import (
    CsrFault,
    CsrRefused,
    StationAuthority,
    certificate_subject,
    due_for_renewal,
    hash_data,
)

# --- what is signed -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_signed_certificate_is_one_of_a_client_and_nothing_else(
    authority: StationAuthority, rsa_key: rsa.RSAPrivateKey, kind: str
) -> None:
    key = p256() if kind == "ec" else rsa_key
    signed = authority.sign(request(key), STATION, OPERATOR, NOW)
    leaf = x509.load_pem_x509_certificate(signed.chain_pem.encode())
    root = x509.load_pem_x509_certificate(authority.cert_pem)
    leaf.verify_directly_issued_by(root)
    found = leaf.extensions
    usage = found.get_extension_for_class(x509.KeyUsage).value
    assert leaf.public_key() == key.public_key()
    assert leaf.subject == station_name()
    assert not found.get_extension_for_class(x509.BasicConstraints).value.ca
    assert usage.digital_signature
    assert not usage.key_cert_sign
    assert usage.key_agreement is (kind == "ec")
    assert list(found.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.CLIENT_AUTH
    ]
    assert (
        found.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        == root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    )
    assert signed.not_after == leaf.not_valid_after_utc == NOW + timedelta(days=365)
    assert leaf.not_valid_before_utc < NOW  # a station whose clock is behind takes it too
    assert signed.fingerprint_sha256 == hashlib.sha256(leaf.public_bytes(Encoding.DER)).hexdigest()
    assert certificate_subject(signed.chain_pem.encode()) == (
        STATION,
        OPERATOR,
        signed.serial_hex,
        signed.not_after,
    )
    assert certificate_subject(leaf.public_bytes(Encoding.DER)).common_name == STATION


def test_nothing_but_the_key_is_taken_from_a_request(authority: StationAuthority) -> None:
    wish = name(
        (NameOID.COMMON_NAME, STATION),
        (NameOID.ORGANIZATION_NAME, OPERATOR),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "Administrators"),
    )
    csr = request(
        p256(),
        wish,
        x509.SubjectAlternativeName([x509.DNSName("gateway.example")]),
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
    )
    signed = authority.sign(csr, STATION, OPERATOR, NOW)
    leaf = x509.load_pem_x509_certificate(signed.chain_pem.encode())
    assert leaf.subject == station_name()
    assert list(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.CLIENT_AUTH
    ]
    with pytest.raises(x509.ExtensionNotFound):
        leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)


def test_chain_holds_the_ca_below_a_root_but_never_the_root(authority: StationAuthority) -> None:
    root_key, key = p256(), p256()
    root = ca(root_key, "Root")
    sub = ca(key, "Sub", station_name("Root"), root_key)
    signed = StationAuthority(sub + root, private_pem(key)).sign(request(p256()), STATION, OPERATOR, NOW)
    assert signed.chain_pem.count("BEGIN CERTIFICATE") == 2
    assert signed.chain_pem.endswith(sub.decode())
    alone = authority.sign(request(p256()), STATION, OPERATOR, NOW)
    assert alone.chain_pem.count("BEGIN CERTIFICATE") == 1


def test_rsa_authority_signs_with_pss(rsa_key: rsa.RSAPrivateKey) -> None:
    """A00.FR.505."""
    signed = StationAuthority(ca(rsa_key, "RSA"), private_pem(rsa_key)).sign(
        request(p256()), STATION, OPERATOR, NOW
    )
    leaf = x509.load_pem_x509_certificate(signed.chain_pem.encode())
    assert isinstance(leaf.signature_algorithm_parameters, padding.PSS)


def test_certificate_does_not_outlive_its_ca(authority: StationAuthority) -> None:
    end = certificate_subject(authority.cert_pem).not_after
    late = end - timedelta(days=10)
    assert authority.sign(request(p256()), STATION, OPERATOR, late).not_after == end
    with pytest.raises(ValueError, match="not valid now"):
        authority.sign(request(p256()), STATION, OPERATOR, end)


def test_authority_needs_its_own_key_and_a_ca_certificate(
    authority: StationAuthority, stranger: StationAuthority
) -> None:
    server = authority.issue_server("localhost", [], NOW)
    weak = rsa.generate_private_key(65537, 1024)
    for cert_pem, key_pem in (
        (authority.cert_pem, stranger.key_pem),
        (server.chain_pem, server.key_pem),
        (ca(weak, "Weak"), private_pem(weak)),
        (b"", authority.key_pem),
        (ca(key := p256(), "Locked"), private_pem(key, b"secret")),
    ):
        with pytest.raises(ValueError):  # noqa: PT011  our words and the library's
            StationAuthority(cert_pem, key_pem)
    again = StationAuthority(authority.cert_pem, authority.key_pem)
    assert again.sign(request(p256()), STATION, OPERATOR, NOW).serial_hex


# --- what is refused ------------------------------------------------------------------------------------


def der_pem(der: bytes) -> str:
    kind = "CERTIFICATE REQUEST"
    return f"-----BEGIN {kind}-----\n{encodebytes(der).decode()}-----END {kind}-----\n"


def broken_signature() -> str:
    der = bytearray(x509.load_pem_x509_csr(request(p256()).encode()).public_bytes(Encoding.DER))
    der[-1] ^= 1
    return der_pem(bytes(der))


def two_names(kind: x509.ObjectIdentifier, value: str) -> str:
    return request(p256(), x509.Name([*station_name(), x509.NameAttribute(kind, value)]))


REFUSALS: dict[str, tuple[CsrFault, Any]] = {
    "empty": (CsrFault.UNREADABLE, lambda: ""),
    "no PEM": (CsrFault.UNREADABLE, lambda: "MIIB"),
    "not ASCII": (CsrFault.UNREADABLE, lambda: "\N{SNOWMAN}" * 40),
    "no DER": (CsrFault.UNREADABLE, lambda: der_pem(b"\x30\x82nonsense")),
    "a certificate": (CsrFault.UNREADABLE, lambda: ca(p256(), STATION).decode()),
    "signature": (CsrFault.BAD_SIGNATURE, broken_signature),
    "another station": (CsrFault.WRONG_COMMON_NAME, lambda: request(p256(), station_name("CP-0002"))),
    "a longer name": (CsrFault.WRONG_COMMON_NAME, lambda: request(p256(), station_name(STATION + "1"))),
    "other case": (CsrFault.WRONG_COMMON_NAME, lambda: request(p256(), station_name(STATION.lower()))),
    "no CN": (CsrFault.WRONG_COMMON_NAME, lambda: request(p256(), name((O, OPERATOR)))),
    "two CNs": (CsrFault.WRONG_COMMON_NAME, lambda: two_names(CN, "CP-0002")),
    "another operator": (CsrFault.WRONG_OPERATOR, lambda: request(p256(), station_name(operator="Other"))),
    "no operator": (CsrFault.WRONG_OPERATOR, lambda: request(p256(), name((CN, STATION)))),
    "two operators": (CsrFault.WRONG_OPERATOR, lambda: two_names(O, "Other")),
    "RSA 1024": (CsrFault.WEAK_KEY, lambda: request(rsa.generate_private_key(65537, 1024))),
    "P-224": (CsrFault.WEAK_KEY, lambda: request(ec.generate_private_key(ec.SECP224R1()))),
    "Ed25519": (CsrFault.WEAK_KEY, lambda: request(ed25519.Ed25519PrivateKey.generate())),
    "too large": (CsrFault.TOO_LARGE, lambda: request(p256()).ljust(5501, "\n")),
    "a CA": (
        CsrFault.CA_REQUESTED,
        lambda: request(p256(), None, x509.BasicConstraints(ca=True, path_length=None)),
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_request_is_refused_with_its_code(authority: StationAuthority, case: str) -> None:
    code, make = REFUSALS[case]
    with pytest.raises(CsrRefused) as refused:
        authority.sign(make(), STATION, OPERATOR, NOW)
    assert refused.value.code is code


def test_every_code_has_a_case() -> None:
    assert {code for code, _ in REFUSALS.values()} == set(CsrFault)


def test_largest_request_is_still_signed(authority: StationAuthority) -> None:
    csr = request(p256(), None, x509.BasicConstraints(ca=False, path_length=None)).ljust(5500, "\n")
    assert authority.sign(csr, STATION, OPERATOR, NOW).chain_pem


def test_no_damaged_byte_is_signed_or_raises_anything_else(authority: StationAuthority) -> None:
    key = p256()
    csr = request(key, None, x509.BasicConstraints(ca=False, path_length=None))
    der = x509.load_pem_x509_csr(csr.encode()).public_bytes(Encoding.DER)
    refused = 0
    for place in range(len(der)):
        for damage in (0x01, 0x11, 0x80, 0xFF):
            damaged = bytearray(der)
            damaged[place] ^= damage
            try:
                signed = authority.sign(der_pem(bytes(damaged)), STATION, OPERATOR, NOW)
            except CsrRefused:
                refused += 1
            else:  # padding bits of the signature that say nothing
                leaf = x509.load_pem_x509_certificate(signed.chain_pem.encode())
                assert leaf.public_key() == key.public_key()
    assert refused >= 4 * len(der) - 4


def test_malformed_name_is_unreadable(authority: StationAuthority) -> None:
    """A CN that is a bit string: the library raises TypeError."""
    der = x509.load_pem_x509_csr(request(p256()).encode()).public_bytes(Encoding.DER)
    text = b"\x0c" + bytes([len(STATION)]) + STATION.encode()
    bits = b"\x03" + bytes([len(STATION)]) + b"\x00" + STATION[1:].encode()
    assert text in der
    with pytest.raises(CsrRefused) as refused:
        authority.sign(der_pem(der.replace(text, bits)), STATION, OPERATOR, NOW)
    assert refused.value.code is CsrFault.UNREADABLE
    leaf = x509.load_pem_x509_certificate(
        authority.sign(request(p256()), STATION, OPERATOR, NOW).chain_pem.encode()
    ).public_bytes(Encoding.DER)
    assert text in leaf
    with pytest.raises(ValueError, match="unreadable subject"):
        certificate_subject(leaf.replace(text, bits))


# --- how OCPP names a certificate -----------------------------------------------------------------------


def test_hash_data_is_that_of_an_ocsp_certificate_id(
    authority: StationAuthority, stranger: StationAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(x509, "random_serial_number", lambda: 0x0ABC)
    leaf = authority.sign(request(p256()), STATION, OPERATOR, NOW).chain_pem.encode()
    root = x509.load_pem_x509_certificate(authority.cert_pem)
    point = root.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    expected = {
        "hashAlgorithm": "SHA256",
        "issuerNameHash": hashlib.sha256(root.subject.public_bytes()).hexdigest(),
        "issuerKeyHash": hashlib.sha256(point).hexdigest(),
        "serialNumber": "abc",  # no leading zero
    }
    assert hash_data(leaf, authority.cert_pem) == expected
    assert (
        hash_data(authority.cert_pem, root.public_bytes(Encoding.DER))["issuerKeyHash"]
        == (expected["issuerKeyHash"])
    )
    with pytest.raises(ValueError, match="not issued by"):
        hash_data(leaf, stranger.cert_pem)


def test_subject_needs_one_cn_and_one_operator() -> None:
    key = p256()
    builder = (
        x509.CertificateBuilder()
        .issuer_name(station_name())
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
    )
    for subject in (name((CN, STATION)), x509.Name([*station_name(), *station_name("CP-0002")])):
        der = builder.subject_name(subject).sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
        with pytest.raises(ValueError, match="one CN and one O"):
            certificate_subject(der)
    with pytest.raises(ValueError):  # noqa: PT011  the library's words
        certificate_subject(b"nonsense")


def test_renewal_is_due_from_thirty_days_before_the_end() -> None:
    end = NOW + timedelta(days=30)
    assert due_for_renewal(end, NOW)
    assert not due_for_renewal(end, NOW - timedelta(seconds=1))
    assert due_for_renewal(end, end + timedelta(days=400))
    assert not due_for_renewal(end, NOW, days=29)
