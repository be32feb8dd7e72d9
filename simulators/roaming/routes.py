"""Routes of the simulated roaming partner: OCPI 2.2.1 (CPO) and the twin's control API."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import JSONResponse

from simulators.roaming.config import HandshakeFailed
from simulators.roaming.evse import EvseTwin, StartOrder
from simulators.roaming.partner import Partner
from simulators.roaming.wire import reply, since_of
from simulators.twin import ConnectorState, EvseState, Fault, FaultKind, Pause, PlugIn, Vanish

_BASE: Final = "/ocpi/2.2.1"
_HANG_S: Final = 60.0
_COMMAND_TIMEOUT_S: Final = 30
_MODULES: Final = (
    ("credentials", "RECEIVER"),
    ("locations", "SENDER"),
    ("tariffs", "SENDER"),
    ("sessions", "SENDER"),
    ("cdrs", "SENDER"),
    ("tokens", "RECEIVER"),
    ("commands", "RECEIVER"),
)


def _of(request: Request) -> Partner:
    partner: Partner = request.app.state.partner
    return partner


def ocpi_router() -> APIRouter:
    """What the eMSP calls."""
    router = APIRouter(include_in_schema=False)
    router.add_api_route("/ocpi/versions", _versions, methods=["GET"])
    router.add_api_route(_BASE, _details, methods=["GET"])
    for method in ("GET", "POST", "PUT", "DELETE"):
        router.add_api_route(f"{_BASE}/credentials", _credentials, methods=[method])
    for module in ("locations", "tariffs", "sessions", "cdrs"):
        router.add_api_route(f"{_BASE}/{module}", _list, methods=["GET"])
    router.add_api_route(f"{_BASE}/commands/{{command}}", _command, methods=["POST"])
    path = f"{_BASE}/tokens/{{country_code}}/{{party_id}}/{{token_uid}}"
    for method in ("GET", "PUT", "PATCH"):
        router.add_api_route(path, _token, methods=[method])
    return router


async def _versions(request: Request) -> dict[str, Any]:
    partner = _of(request)
    partner.admit(request, registration=True)
    return reply([{"version": "2.2.1", "url": f"{partner.base_url}{_BASE}"}])


async def _details(request: Request) -> dict[str, Any]:
    partner = _of(request)
    partner.admit(request, registration=True)
    endpoints = [
        {"identifier": name, "role": role, "url": f"{partner.base_url}{_BASE}/{name}"}
        for name, role in _MODULES
    ]
    return reply({"version": "2.2.1", "endpoints": endpoints})


async def _credentials(request: Request) -> Response:
    partner = _of(request)
    partner.admit(request, registration=True)
    if request.method == "GET":
        return JSONResponse(reply(partner.credentials(partner.peer.token_in if partner.peer else "")))
    if request.method == "DELETE":
        partner.forget_peer()
        return JSONResponse(reply())
    if request.method == "POST" and partner.peer is not None and partner.peer.confirmed:
        return JSONResponse(reply(status_code=2000, message="registered already"), 405)
    try:
        return JSONResponse(reply(await partner.take_credentials(await request.json())))
    except HandshakeFailed as error:
        return JSONResponse(reply(status_code=3001, message=str(error)))
    except (KeyError, IndexError, TypeError, ValueError):
        return JSONResponse(reply(status_code=2001, message="credentials are not readable"))


async def _list(request: Request) -> Response:
    """Paged list of a module; date_from inclusive, date_to exclusive, on last_updated."""
    partner = _of(request)
    partner.admit(request)
    module = request.url.path.rsplit("/", 1)[-1]
    query = request.query_params
    try:
        since, until = since_of(query.get("date_from")), since_of(query.get("date_to"))
        offset = max(0, int(query.get("offset", "0")))
        limit = max(1, min(int(query.get("limit", "1000")), partner.config.page_limit))
    except ValueError:
        return JSONResponse(reply(status_code=2001, message="query is not readable"))
    if module == "sessions" and since is None:
        return JSONResponse(reply(status_code=2001, message="date_from is required"))
    if module in ("locations", "tariffs"):
        items = partner.locations() if module == "locations" else partner.tariffs()
    else:
        items = list(partner.objects[module].values())

    def wanted(item: dict[str, Any]) -> bool:
        at = since_of(item["last_updated"])
        return at is None or ((since is None or at >= since) and (until is None or at < until))

    found = [item for item in items if wanted(item)]
    response = JSONResponse(reply(found[offset : offset + limit]))
    response.headers["x-total-count"] = str(len(found))
    response.headers["x-limit"] = str(partner.config.page_limit)
    if offset + limit < len(found):
        following = request.url.include_query_params(offset=offset + limit, limit=limit).query
        response.headers["link"] = f'<{partner.base_url}{request.url.path}?{following}>; rel="next"'
    return response


async def _token(country_code: str, party_id: str, token_uid: str, request: Request) -> Response:
    partner = _of(request)
    partner.admit(request)
    tokens, key = partner.objects["tokens"], f"{country_code}*{party_id}*{token_uid}"
    if request.method == "GET":
        known = tokens.get(key)
        return JSONResponse(reply(known) if known else reply(status_code=2004), 200 if known else 404)
    tokens[key] = tokens.get(key, {}) | await request.json()
    return JSONResponse(reply())


# --- commands ------------------------------------------------------------------------------------------


def _said(result: str) -> Response:
    return JSONResponse(reply({"result": result, "timeout": _COMMAND_TIMEOUT_S}))


async def _command(command: str, request: Request) -> Response:
    partner = _of(request)
    partner.admit(request)
    body: dict[str, Any] = await request.json()
    if command == "STOP_SESSION":
        return _stop(partner, body)
    evse = partner.evses.get(str(body.get("evse_uid")))
    if evse is None or evse.location.location_id != body.get("location_id"):
        return JSONResponse(reply(status_code=2003, message="unknown location"))
    if command == "START_SESSION":
        return await _start(partner, evse, body)
    if command == "UNLOCK_CONNECTOR":
        partner.ledger.add("other", evse.charger_id, key="unlock", result="ACCEPTED")
        evse.answer(body["response_url"], "ACCEPTED")
        return _said("ACCEPTED")
    return _said("NOT_SUPPORTED")


async def _start(partner: Partner, evse: EvseTwin, body: dict[str, Any]) -> Response:
    order = StartOrder(str(body.get("authorization_reference", "")), body["token"], body["response_url"])

    def noted(result: str) -> None:
        partner.ledger.add("command_start", evse.charger_id, key=order.reference, result=result)

    if evse.strike(FaultKind.PARTNER_5XX):
        noted("http_500")
        return JSONResponse({"error": "internal"}, 500)
    if fault := evse.strike(FaultKind.PARTNER_TIMEOUT):
        noted("hangs")
        return await _hang(partner, evse, order, fault)
    rejecting = next((f for f in evse.faults if f.kind is FaultKind.REJECT and f.times > 0), None)
    if rejecting is not None and rejecting.delay_s <= 0:
        evse.strike(FaultKind.REJECT)
        noted("REJECTED")
        return _said("REJECTED")
    noted("ACCEPTED")
    evse.begin(order)
    return _said("ACCEPTED")


async def _hang(partner: Partner, evse: EvseTwin, order: StartOrder, fault: Fault) -> Response:
    """No answer for a minute. With a delay_s above 0 the partner acts all the same, that much later."""

    async def act() -> None:
        await asyncio.sleep(fault.delay_s)
        evse.begin(order)

    acting = asyncio.create_task(act()) if fault.delay_s > 0 else None
    try:
        async with asyncio.timeout(_HANG_S):
            await partner.closing.wait()
    except TimeoutError:
        pass
    finally:
        if acting is not None and partner.closing.is_set():
            acting.cancel()
    return JSONResponse({"error": "too late"}, 504)


def _stop(partner: Partner, body: dict[str, Any]) -> Response:
    session_id = str(body.get("session_id"))
    evse = partner.session_owner(session_id)
    result = "ACCEPTED" if evse is not None else "UNKNOWN_SESSION"
    partner.ledger.add(
        "command_stop", evse.charger_id if evse else "", key=session_id, result=result, session_ref=session_id
    )
    if evse is not None:
        evse.stop_session(body["response_url"])
    return _said(result)


# --- the twin's control API ----------------------------------------------------------------------------


def twin_router() -> APIRouter:
    """What scenarios call."""
    router = APIRouter(prefix="/twin")
    router.add_api_route("/connectors/{charger_id}/plug", _plug, methods=["POST"])
    router.add_api_route("/connectors/{charger_id}/unplug", _unplug, methods=["POST"])
    router.add_api_route("/connectors/{charger_id}/faults", _fault, methods=["POST"])
    for name, does in (("pause", _pause), ("end", _end), ("status", _status), ("vanish", _vanish)):
        router.add_api_route(f"/connectors/{{charger_id}}/{name}", does, methods=["POST"])
    router.add_api_route("/connectors/{charger_id}", _connector, methods=["GET"])
    router.add_api_route("/ledger", _ledger, methods=["GET"])
    router.add_api_route("/pending", _pending, methods=["GET"])
    return router


async def _plug(charger_id: str, vehicle: PlugIn, request: Request) -> ConnectorState:
    evse = _of(request).by_charger(charger_id)
    if not evse.plug(vehicle):
        raise HTTPException(409, "another vehicle is plugged in")
    return evse.state()


async def _unplug(charger_id: str, request: Request) -> ConnectorState:
    evse = _of(request).by_charger(charger_id)
    evse.unplug()
    return evse.state()


async def _fault(charger_id: str, fault: Fault, request: Request) -> dict[str, int]:
    evse = _of(request).by_charger(charger_id)
    evse.faults.append(fault)
    return {"faults": len(evse.faults)}


async def _pause(charger_id: str, body: Pause, request: Request) -> ConnectorState:
    evse = _of(request).by_charger(charger_id)
    evse.paused = body.paused
    return evse.state()


async def _end(charger_id: str, request: Request) -> ConnectorState:
    evse = _of(request).by_charger(charger_id)
    evse.end()
    return evse.state()


async def _status(charger_id: str, body: EvseState, request: Request) -> ConnectorState:
    evse = _of(request).by_charger(charger_id)
    evse.shift(body.status)
    return evse.state()


async def _vanish(charger_id: str, body: Vanish, request: Request) -> ConnectorState:
    partner = _of(request)
    partner.vanish(charger_id, body.gone)
    return partner.by_charger(charger_id).state()


async def _connector(charger_id: str, request: Request) -> ConnectorState:
    return _of(request).by_charger(charger_id).state()


async def _ledger(request: Request) -> dict[str, Any]:
    return {"entries": [entry.model_dump(mode="json") for entry in _of(request).ledger.entries()]}


async def _pending(request: Request) -> dict[str, Any]:
    """Deliveries under way, and how many were refused for good; `registered` once a peer is known."""
    partner = _of(request)
    return {
        "pending": partner.courier.pending,
        "failed_tries": partner.courier.failed_tries,
        "given_up": partner.courier.given_up,
        "registered": partner.peer is not None,
    }
