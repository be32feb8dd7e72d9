"""One websocket connection of a simulated charge point: OCPP-J frames in and out, TLS, and the black hole."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import uuid
from collections.abc import Awaitable, Callable
from functools import cache
from importlib.resources import files
from typing import Any, cast

import jsonschema_rs
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from simulators.charge_point.outbox import CallRefused
from simulators.charge_point.session import Json
from simulators.twin import TwinStation

_CALL, _RESULT, _ERROR, _RESULT_ERROR, _SEND = 2, 3, 4, 5, 6
_REPLY_S = 10.0
_PING_S = 20.0

Answer = Json | str | None
"""A CALLRESULT's payload, a CALLERROR's code, or nothing at all."""


def dial(station: TwinStation, url: str, password: bytes) -> connect:
    """The connection, not yet made. Certificates are read anew each time: they may have been renewed.
    Raises OSError (ssl.SSLError too) when they cannot be read."""
    user = station.station_id.encode() + b":" + password  # 1.6 passwords may be raw bytes
    context: ssl.SSLContext | None = None
    if url.startswith("wss:"):
        context = ssl.create_default_context(cafile=station.ca_file)
        if station.cert_file is not None:
            context.load_cert_chain(station.cert_file, station.key_file)
    return connect(
        url,
        subprotocols=[Subprotocol(station.ocpp_version)],
        additional_headers={"Authorization": "Basic " + base64.b64encode(user).decode()},
        compression=None,
        ping_interval=None,  # keep_alive() pings: it must fall silent in a black hole
        proxy=None,
        ssl=context,
    )


class StationSocket:
    """`answer(action, payload)` is asked for every CALL; each is answered by a task of its own."""

    def __init__(
        self, socket: ClientConnection, version: str, answer: Callable[[str, Json], Awaitable[Answer]]
    ) -> None:
        self._socket, self._answer = socket, answer
        self._is_16, self._is_21 = version == "ocpp1.6", version == "ocpp2.1"
        self._awaited: dict[str, asyncio.Future[Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._open.set()

    # --- out --------------------------------------------------------------------------------------------

    async def call(self, action: str, payload: Json, told: asyncio.Event | None = None) -> Json:
        """The CALLRESULT's payload. Raises CallRefused for a CALLERROR, silence, or in 2.1 a reply that its
        schema refuses (which a CALLRESULTERROR tells); ConnectionError or websockets' own when cut off."""
        message_id = str(uuid.uuid4())
        awaited: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._awaited[message_id] = awaited
        try:
            await self._write([_CALL, message_id, action, payload])
            if told is not None:
                told.set()
            async with asyncio.timeout(_REPLY_S):
                reply = await awaited
        except TimeoutError:
            raise CallRefused("") from None
        finally:
            self._awaited.pop(message_id, None)
        if isinstance(reply, CallRefused):
            raise reply
        if self._is_21 and not _reply_schema(action).is_valid(reply):
            text = f"{action}Response does not fit its schema"
            await self._write([_RESULT_ERROR, message_id, "FormatViolation", text, {}])
            raise CallRefused("FormatViolation")
        if not isinstance(reply, dict):
            raise CallRefused("FormationViolation")
        return cast("Json", reply)

    def send(self, action: str, payload: Json) -> None:
        """OCPP 2.1's SEND: unconfirmed."""
        self._run(self._write([_SEND, str(uuid.uuid4()), action, payload]))

    async def _write(self, frame: list[Any]) -> None:
        await self._open.wait()
        await self._socket.send(json.dumps(frame))

    async def keep_alive(self) -> None:
        while True:
            await asyncio.sleep(_PING_S)
            await self._open.wait()
            pong = await self._socket.ping()
            try:
                async with asyncio.timeout(_PING_S):
                    await pong
            except TimeoutError:
                if self._open.is_set():
                    self.abort()

    # --- in ---------------------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Until the connection ends. Raises what websockets raises when it is cut."""
        try:
            async for raw in self._socket:
                try:
                    self._receive(json.loads(raw))
                except (ValueError, TypeError, IndexError, KeyError):
                    if not self._is_16:  # 2.x part 4 section 4.3; 1.6 has no word for it
                        self._run(self._write([_ERROR, "-1", "RpcFrameworkError", "", {}]))
        finally:
            for task in self._tasks:
                task.cancel()
            for awaited in self._awaited.values():
                if not awaited.done():
                    awaited.set_exception(ConnectionError())
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _receive(self, frame: list[Any]) -> None:
        kind, message_id = frame[0], str(frame[1])
        if kind == _CALL:
            self._run(self._reply(message_id, str(frame[2]), frame[3]))
            return
        awaited = self._awaited.get(message_id)
        if awaited is not None and not awaited.done() and kind in (_RESULT, _ERROR):
            awaited.set_result(frame[2] if kind == _RESULT else CallRefused(str(frame[2]) or "GenericError"))

    async def _reply(self, message_id: str, action: str, payload: Json) -> None:
        answer = await self._answer(action, payload)
        if isinstance(answer, str):
            await self._write([_ERROR, message_id, answer, "", {}])
        elif answer is not None:
            await self._write([_RESULT, message_id, answer])

    def _run(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._settle)

    def _settle(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.abort()  # a frame that could not be written: the connection is of no use any more

    # --- the end ----------------------------------------------------------------------------------------

    def abort(self) -> None:
        """No closing handshake, as when the modem dies."""
        self._socket.transport.abort()

    def black_out(self, seconds: float) -> None:
        """The connection stays open, but nothing is read (no pong either) and nothing written."""
        self._open.clear()
        self._socket.transport.pause_reading()
        asyncio.get_running_loop().call_later(seconds, self._light)

    def _light(self) -> None:
        self._open.set()
        if not self._socket.transport.is_closing():
            self._socket.transport.resume_reading()


@cache
def _reply_schema(action: str) -> jsonschema_rs.Validator:
    file = files("ocpp") / "v21" / "schemas" / f"{action}Response.json"
    return jsonschema_rs.validator_for(json.loads(file.read_text(encoding="utf-8-sig")))
