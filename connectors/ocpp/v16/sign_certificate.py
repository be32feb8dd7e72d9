"""SignCertificate (OCPP 1.6 security white paper ed. 3, A02; 2.x part 2 A02, A03): answered first, signed and
sent afterwards. A station's own certificate only: ISO 15118's are another authority's."""

from __future__ import annotations

from connectors.ocpp.session import StationSession
from connectors.ocpp.wire.rpc import Answer, Priority
from connectors.ocpp.wire.schemas import Json
from models.station import StationEventKind

_OURS = "ChargingStationCertificate"
_TIMEOUT_S = 30.0


async def handle(session: StationSession, payload: Json) -> Answer:
    ours = payload.get("certificateType", _OURS) == _OURS
    chain = await session.house.sign(session.station, str(payload["csr"])) if ours else None
    if chain is None:
        await session.note(StationEventKind.CERTIFICATE, {"status": "refused"})
        return Answer({"status": "Rejected"})

    async def send_certificate() -> None:
        if session.rpc is None:
            return
        request: Json = {"certificateChain": chain}
        for name in ("certificateType", "requestId"):
            if name in payload:
                request[name] = payload[name]
        reply = await session.rpc.call("CertificateSigned", request, _TIMEOUT_S, Priority.HOUSEKEEPING)
        await session.note(StationEventKind.CERTIFICATE, {"status": str(reply.get("status"))})

    return Answer({"status": "Accepted"}, send_certificate)
