"""Errors as RFC 9457 problem details, each with a stable code and the request's id."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.exc import DataError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from temporalio.service import RPCError, RPCStatusCode

from models.base import clean_text, is_fit
from store.errors import is_bad_data

_log = structlog.get_logger(__name__)
_REQUEST_ID = re.compile(r"^[A-Za-z0-9._-]{1,64}$")
_ABOUT = "https://backstop.example/problems/"
_MOST_IN_URL = 4_000
_MOST_ERRORS = 50
"""Of one request; the rest is more of the same."""
_CODES = {400: "request.malformed", 401: "auth.missing", 404: "route.unknown", 405: "method.not_allowed"}


class FieldError(BaseModel):
    """One thing that is wrong with the body, by JSON path."""

    field: str
    message: str
    kind: str


class ProblemDetails(BaseModel):
    """RFC 9457, with our code (closed, stable) and the request id (for support and logs)."""

    type: str = Field(examples=[_ABOUT + "stop.conflicting_request"])
    title: str = Field(examples=["Conflict"])
    status: int = Field(examples=[409])
    code: str = Field(examples=["stop.conflicting_request"])
    detail: str = Field(examples=["This business key was used with another request."])
    instance: str = Field(examples=["/v1/charging-stops"])
    request_id: str
    errors: list[FieldError] = []


class Problem(Exception):
    """Raise it anywhere below a route; it becomes the response. `field`: the JSON path of what is wrong with
    the body."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        headers: Mapping[str, str] | None = None,
        *,
        field: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.errors = [FieldError(field=field, message=detail, kind=code)] if field else []
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})


def unavailable(code: str, detail: str) -> Problem:
    """503 with a hint when to come back: the work is safe, only not possible now."""
    return Problem(503, code, detail, {"Retry-After": "2"})


def problem_response(
    request: Request,
    status: int,
    code: str,
    detail: str,
    *,
    errors: list[FieldError] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    body = ProblemDetails(
        type=_ABOUT + code,
        title=HTTPStatus(status).phrase,
        status=status,
        code=code,
        detail=clean_text(detail),
        instance=clean_text(request.url.path),
        request_id=request_id(request),
        errors=errors or [],
    )
    return JSONResponse(
        body.model_dump(mode="json"),
        status,
        headers={**(headers or {}), "X-Request-ID": body.request_id},
        media_type="application/problem+json",
    )


def request_id(request: Request) -> str:
    """The caller's X-Request-ID where it is well formed, else one of ours."""
    known = getattr(request.state, "request_id", None)
    if known is None:
        given = request.headers.get("x-request-id", "")
        known = given if _REQUEST_ID.match(given) else f"req_{uuid.uuid4().hex}"
        request.state.request_id = known
    return str(known)


def install_problems(app: FastAPI, max_body_bytes: int) -> None:
    """Every way in which a request can go wrong gives a problem document, never a bare text."""

    async def on_problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return problem_response(
            request, error.status, error.code, error.detail, errors=error.errors, headers=error.headers
        )

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = _CODES.get(error.status_code, "request.refused")
        return problem_response(request, error.status_code, code, str(error.detail), headers=error.headers)

    async def on_invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        # Where and what may be in the caller's own words (a field that we do not know): as they can be said.
        found = [
            FieldError(
                field=clean_text(".".join(str(part) for part in e["loc"]), 200),
                message=clean_text(str(e["msg"]), 500),
                kind=str(e["type"]),
            )
            for e in error.errors()[:_MOST_ERRORS]
        ]
        return problem_response(
            request, 422, "request.invalid", "The request does not fit its schema.", errors=found
        )

    async def on_database(request: Request, error: Exception) -> Response:
        if is_bad_data(error) or isinstance(error, DataError):
            # No repeat heals that: a bound of ours is missing, and the caller must not be sent round again.
            _log.error("the store refused a value", path=request.url.path, exc_info=error)
            return problem_response(request, 422, "request.invalid", "A value cannot be stored.")
        _log.warning("database unavailable", error=type(error).__name__)
        return problem_response(
            request,
            503,
            "store.unavailable",
            "The store does not answer; try again.",
            headers={"Retry-After": "2"},
        )

    async def on_temporal(request: Request, error: Exception) -> Response:
        status = error.status if isinstance(error, RPCError) else RPCStatusCode.UNKNOWN
        _log.warning("temporal unavailable", status=status.name)
        return problem_response(
            request,
            503,
            "temporal.unavailable",
            "The engine does not answer; try again.",
            headers={"Retry-After": "2"},
        )

    async def on_bug(request: Request, error: Exception) -> Response:
        _log.error("unhandled error", path=request.url.path, exc_info=error)
        return problem_response(request, 500, "server.error", "Something broke on our side; it is logged.")

    handlers: list[tuple[type[Exception], Any]] = [
        (Problem, on_problem),
        (HTTPException, on_http),
        (RequestValidationError, on_invalid),
        (DBAPIError, on_database),
        (PoolTimeout, on_database),
        (RPCError, on_temporal),
        (Exception, on_bug),
    ]
    for kind, handler in handlers:
        app.add_exception_handler(kind, handler)
    app.add_middleware(_Edge, max_body_bytes=max_body_bytes)


class _Edge(BaseHTTPMiddleware):
    """Request id in and out, a limit on bodies, and nothing in path or query that nobody can keep."""

    def __init__(self, app: Any, max_body_bytes: int) -> None:
        super().__init__(app)
        self._max_body_bytes = max_body_bytes

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        length = request.headers.get("content-length", "0")
        ours = request.url.path.startswith("/v1/")
        if ours and (not (length.isascii() and length.isdigit()) or int(length) > self._max_body_bytes):
            return problem_response(request, 413, "request.too_large", "The body is too large.")
        if ours and "transfer-encoding" in request.headers:
            return problem_response(request, 411, "request.length_required", "Send a Content-Length.")
        if ours and not _is_plain(request):
            text = "Path and query hold no control characters and are UTF-8."
            return problem_response(request, 400, "request.malformed", text)
        response = await call_next(request)
        response.headers.setdefault("X-Request-ID", request_id(request))
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        return response


def _is_plain(request: Request) -> bool:
    said = [request.url.path]
    for name, value in request.query_params.multi_items():
        said += [name, value]
    return all(is_fit(text, _MOST_IN_URL) and "\N{REPLACEMENT CHARACTER}" not in text for text in said)
