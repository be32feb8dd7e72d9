"""A fleet backend's client of Backstop's API: what the simulated drivers and the demo use, and nothing else.

The API may be away at any moment (it is killed in drills): whatever must be said is said until it is heard,
with the same event id, so that a repeat changes nothing.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, Literal

import httpx

from models.base import StrictMessage
from models.stop import StopEvent, StopRequest, StopView

_AGAIN_S: Final = 0.5
_ANSWER_S: Final = 15.0
_PAGE: Final = 200
_RETRIED_4XX: Final = frozenset({408, 425, 429})
Topic = Literal["arrival", "problem", "choice", "cancellation"]


class BackendRefused(Exception):
    """The API understood and said no. `status`: HTTP; `code`: the problem's own code."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code


class FleetBackend:
    """Use as an async context manager. All but `look` and `feed` wait for as long as the API is away."""

    def __init__(self, api_url: str, api_key: str, *, connections: int = 20) -> None:
        self._http = httpx.AsyncClient(
            base_url=api_url.rstrip("/"),
            headers={"Authorization": f"Bearer {api_key}"},
            timeout=httpx.Timeout(_ANSWER_S, pool=None),
            limits=httpx.Limits(max_connections=connections),
            trust_env=False,
        )
        # In order, not in the client's pool: that looks through all that wait whenever one of them goes on.
        self._turn = asyncio.Semaphore(connections)
        self.outages = 0

    async def __aenter__(self) -> FleetBackend:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def start(self, request: StopRequest) -> StopView:
        """Asks for a stop; a repeat gives the same stop. Raises BackendRefused."""
        answer = await self._until_heard("POST", "/v1/charging-stops", request.model_dump(mode="json"))
        return StopView.model_validate(answer.json())

    async def tell(self, stop_id: str, topic: Topic, message: StrictMessage) -> bool:
        """Reports to a stop. False when it was refused (the stop has ended or moved on, say)."""
        path = f"/v1/charging-stops/{stop_id}/{topic}"
        try:
            await self._until_heard("POST", path, message.model_dump(mode="json"))
        except BackendRefused:
            return False
        return True

    async def stops(self, wanted: int = _PAGE) -> list[StopView]:
        """The newest stops, at least `wanted` of them if there are so many. Raises BackendRefused."""
        return [StopView.model_validate(item) for item in await self._list(wanted, patient=True)]

    async def look(self, wanted: int = _PAGE) -> list[StopView] | None:
        """As `stops`, but one try only: None while the API is away."""
        try:
            return [StopView.model_validate(item) for item in await self._list(wanted, patient=False)]
        except httpx.HTTPError:
            self.outages += 1
            return None

    async def timeline(self, stop_id: str) -> list[StopEvent]:
        """Every event of one stop, oldest first. Raises BackendRefused."""
        answer = await self._until_heard("GET", f"/v1/charging-stops/{stop_id}/timeline")
        return [StopEvent.model_validate(item) for item in answer.json()["data"]]

    async def feed(self, after: int, limit: int = 500) -> list[tuple[int, StopEvent]] | None:
        """Events written since a position, with theirs; None while the API is away. Raises BackendRefused."""
        try:
            answer = await self._once("GET", f"/v1/events?after={after}&limit={limit}")
        except httpx.HTTPError:
            self.outages += 1
            return None
        return [(item["position"], StopEvent.model_validate(item["event"])) for item in answer.json()["data"]]

    async def whole_feed(self) -> list[tuple[int, StopEvent]]:
        """Every event of the tenant, in the order in which a reader of the feed gets them."""
        found: list[tuple[int, StopEvent]] = []
        while True:
            page = await self.feed(found[-1][0] if found else 0)
            if page is None:
                await asyncio.sleep(_AGAIN_S)
            elif page:
                found += page
            else:
                return found

    async def _list(self, wanted: int, *, patient: bool) -> list[Any]:
        found: list[Any] = []
        cursor: str | None = None
        while True:
            params = {"limit": str(min(_PAGE, max(1, wanted)))} | ({"cursor": cursor} if cursor else {})
            path = f"/v1/charging-stops?{httpx.QueryParams(params)}"
            answer = await (self._until_heard("GET", path) if patient else self._once("GET", path))
            page = answer.json()
            found += page["data"]
            cursor = page.get("next_cursor")
            if cursor is None or len(found) >= wanted:
                return found

    async def _until_heard(self, method: str, path: str, body: Any = None) -> httpx.Response:
        while True:
            try:
                return await self._once(method, path, body)
            except httpx.HTTPError:
                self.outages += 1
                await asyncio.sleep(_AGAIN_S)

    async def _once(self, method: str, path: str, body: Any = None) -> httpx.Response:
        async with self._turn:
            answer = await self._http.request(method, path, json=body)
        if answer.status_code >= 500 or answer.status_code in _RETRIED_4XX:
            answer.raise_for_status()
        if answer.is_error:
            problem = _problem(answer)
            raise BackendRefused(
                answer.status_code, str(problem.get("code", "")), str(problem.get("detail", ""))
            )
        return answer


def _problem(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}  # pyright: ignore[reportUnknownVariableType]
