"""TLS of the station port, and which station a client certificate names (security profiles 2 and 3).

OCPP 2.0.1 part 2: A00.FR.3xx (TLS), FR.403 to 405 (client certificates); OCPP 1.6 security white paper ed. 3.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# For TLS 1.2; those of 1.3 are OpenSSL's own. The last two have no forward secrecy (a stolen key of ours
# would open what was recorded): A00.FR.318 demands them; only a station that knows nothing better gets them.
_SUITES = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
)


def server_context(
    cert_file: Path, key_file: Path, client_ca_file: Path | None, require_client: bool
) -> ssl.SSLContext:
    """TLS 1.2 and above, as the server. Without `client_ca_file` no client certificate is asked for; with it
    one is verified where it is shown, and demanded where `require_client`.

    A verified certificate says "some station of this CA": is_station must follow. A second key pair, of the
    other kind (A00.FR.318: ECDSA and RSA), is added with load_cert_chain on what is returned.
    Raises OSError for a file that cannot be read, ssl.SSLError for what is no certificate or no plain key,
    ValueError for `require_client` without a CA.
    """
    if require_client and client_ca_file is None:
        raise ValueError("client certificates cannot be required without their CA")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(":".join(_SUITES))
    # A resumed session would not have its client certificate verified again (num_tickets is for TLS 1.3).
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    context.num_tickets = 0
    # A password, so that OpenSSL does not wait at the terminal for the one of an encrypted key.
    context.load_cert_chain(cert_file, key_file, password="")
    if client_ca_file is not None:
        context.load_verify_locations(client_ca_file)
        # The CA named is the one trusted, be it below a root that also signs for others.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.verify_mode = ssl.CERT_REQUIRED if require_client else ssl.CERT_OPTIONAL
    return context


def client_identity(peercert: Mapping[str, Any] | None) -> tuple[str, str] | None:
    """(CN, O) of what getpeercert() gives; None without a verified certificate, or where one of them is
    missing or there twice: then nobody can say which is meant."""
    subject = (peercert or {}).get("subject", ())
    attributes: list[tuple[str, str]] = [attribute for rdn in subject for attribute in rdn]
    common_names = [value for kind, value in attributes if kind == "commonName"]
    operators = [value for kind, value in attributes if kind == "organizationName"]
    if len(common_names) != 1 or len(operators) != 1:
        return None
    return common_names[0], operators[0]


def is_station(peercert: Mapping[str, Any] | None, station_id: str, operator: str) -> bool:
    """Whether the certificate is this station's, of this operator (A00.FR.404, FR.405): both exactly."""
    return client_identity(peercert) == (station_id, operator)
