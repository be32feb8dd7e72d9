"""What `backstop chargers` has with the HTTP API: one request, and every failure as one line."""

from __future__ import annotations

import json
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
import typer
from rich.console import Console

REFUSED, USAGE, NOT_REACHED, UNCERTAIN = 1, 2, 3, 4
EXITS = {"accepted": 0, "rejected": REFUSED, "unreachable": NOT_REACHED, "uncertain": UNCERTAIN}

Json = dict[str, Any]
err = Console(stderr=True)


class Failed(Exception):
    """One line for the person, and the exit code."""

    def __init__(self, line: str, code: int) -> None:
        super().__init__(line)
        self.code = code


@dataclass
class Api:
    url: str
    key: str

    def client(self, timeout_s: float | None) -> httpx.Client:
        host = urlsplit(self.url).hostname or ""
        return httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {self.key}"},
            timeout=timeout_s,
            trust_env=host not in ("localhost", "127.0.0.1", "::1"),  # no proxy on the way to ourselves
        )

    def ask(
        self,
        verb: str,
        path: str,
        body: Json | None = None,
        *,
        params: Json | None = None,
        key: str | None = None,
        timeout_s: float = 30.0,
    ) -> Json:
        """Raises Failed with the problem's own code and words."""
        headers = {"Idempotency-Key": key} if key else {}
        with self.client(timeout_s) as http:
            answer = http.request(verb, f"/v1{path}", json=body, params=params or {}, headers=headers)
        check(answer)
        return cast(Json, answer.json())


def check(answer: httpx.Response) -> None:
    if answer.is_success:
        return
    try:
        problem = cast(Json, json.loads(answer.read()))
        fields = "; ".join(f"{one['field']}: {one['message']}" for one in problem.get("errors", []))
        line = f"{problem['code']}: {fields or problem['detail']}"
    except (ValueError, KeyError, TypeError):
        line = f"the server answered {answer.status_code}, which is no answer of Backstop's API"
    raise Failed(line, NOT_REACHED if answer.status_code >= 500 else REFUSED)


@contextmanager
def friendly() -> Generator[None]:
    """What goes wrong is one line on stderr and an exit code, never a traceback."""
    try:
        yield
    except Failed as failed:
        err.print(str(failed), markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(failed.code) from None
    except (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError) as error:
        line = f"the API does not answer ({type(error).__name__}); is BACKSTOP_URL right?"
        err.print(line, markup=False, soft_wrap=True)
        raise typer.Exit(NOT_REACHED) from None
    except (httpx.InvalidURL, httpx.UnsupportedProtocol):
        err.print("BACKSTOP_URL is no http address")
        raise typer.Exit(USAGE) from None


def api_of(context: typer.Context) -> Api:
    """Raises Failed where no key is set."""
    api = cast(Api, context.obj)
    if not api.key:
        how = "backstop keys create NAME --scopes stations:write,stations:command,chargers:read"
        raise Failed(f"set BACKSTOP_API_KEY; {how} makes one", USAGE)
    return api


def read_body(file: Path) -> Json:
    try:
        body = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise Failed(f"{file} cannot be read: {error}", USAGE) from error
    if not isinstance(body, dict):
        raise Failed(f"{file} holds no JSON object", USAGE)
    return cast(Json, body)


def place_of(text: str) -> Json:
    try:
        latitude, longitude = (float(part) for part in text.split(","))
    except ValueError:
        raise Failed("connectors need --place LATITUDE,LONGITUDE", USAGE) from None
    return {"latitude": latitude, "longitude": longitude}


def payload_of(text: str) -> Json:
    try:
        payload = json.loads(text)
    except ValueError as error:
        raise Failed(f"the payload is no JSON: {error}", USAGE) from error
    if not isinstance(payload, dict):
        raise Failed("the payload is no JSON object", USAGE)
    return cast(Json, payload)


def new_key() -> str:
    """So that a request that the network repeats is sent once."""
    return f"cli-{uuid.uuid4().hex}"
