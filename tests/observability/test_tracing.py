"""Spans of GET, POST and refused (422) requests through a real server, joined with the caller's trace; and
the metrics of SDK and gateway."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Generator
from dataclasses import dataclass
from typing import cast

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request, Response
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, generate_latest
from pydantic import BaseModel

from connectors.ocpp.ports import House
from connectors.ocpp.server import Gateway
from tests.enode.servers import serving
from workers.gateway.metrics import GatewayCollector
from workers.observability import (
    instrument_http,
    stop_tracing,
    temporal_runtime,
    tracer_provider,
    tracing_interceptors,
)


@dataclass
class Settings:
    otel_endpoint: str | None = None
    metrics_port: int | None = None
    log_level: str = "INFO"


class Body(BaseModel):
    soc_percent: float


@pytest.fixture
def spans() -> Generator[tuple[TracerProvider, InMemorySpanExporter]]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider, exporter
    HTTPXClientInstrumentor().uninstrument()
    provider.shutdown()


def server_span(exporter: InMemorySpanExporter, method: str) -> ReadableSpan:
    found = [
        s for s in exporter.get_finished_spans() if s.kind.name == "SERVER" and s.name.startswith(method)
    ]
    assert len(found) == 1, [s.name for s in exporter.get_finished_spans()]
    return found[0]


def status_of(span: ReadableSpan) -> object:
    attributes = span.attributes or {}
    return attributes.get("http.status_code", attributes.get("http.response.status_code"))


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("method", "body", "status"),
    [("GET", None, 200), ("POST", {"soc_percent": 40}, 202), ("POST", {"soc_percent": "x"}, 422)],
)
async def test_each_request_is_one_server_span_in_the_callers_trace(
    spans: tuple[TracerProvider, InMemorySpanExporter],
    method: str,
    body: dict[str, object] | None,
    status: int,
) -> None:
    provider, exporter = spans
    app, router = FastAPI(), APIRouter(prefix="/v1")

    @router.get("/things/{thing_id}")
    async def read(thing_id: str) -> dict[str, str]:  # pyright: ignore[reportUnusedFunction]
        return {"id": thing_id}

    @router.post("/things/{thing_id}", status_code=202)
    async def write(thing_id: str, body: Body) -> dict[str, str]:  # pyright: ignore[reportUnusedFunction]
        return {"id": thing_id}

    app.include_router(router)
    assert instrument_http(Settings(), "test", app, provider=provider)
    async with serving(app) as url, httpx.AsyncClient(trust_env=False) as http:
        reply = await http.request(method, f"{url}/v1/things/1", json=body)
        assert reply.status_code == status
        assert (await http.get(f"{url}/healthz")).status_code == 404
    span = server_span(exporter, method)
    assert status_of(span) == status
    assert "/v1/things/{thing_id}" in span.name
    callers = [s for s in exporter.get_finished_spans() if s.kind.name == "CLIENT"]
    assert span.parent is not None
    assert span.parent.span_id in {s.context.span_id for s in callers if s.context}


def test_everything_is_off_by_default(spans: tuple[TracerProvider, InMemorySpanExporter]) -> None:
    assert not instrument_http(Settings(), "test", FastAPI())
    assert tracing_interceptors(Settings(), "test") == []
    assert temporal_runtime(Settings()) is None
    assert len(tracing_interceptors(Settings(), "test", provider=spans[0])) == 1


@pytest.mark.asyncio
async def test_spans_that_wait_are_sent_at_the_end() -> None:
    bodies: list[bytes] = []
    collector = FastAPI()

    @collector.post("/v1/traces")
    async def take(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        bodies.append(await request.body())
        return Response()

    async with serving(collector) as url:
        settings = Settings(otel_endpoint=url)
        provider = tracer_provider(settings, "ends-soon")
        assert provider is not None
        with provider.get_tracer("test").start_as_current_span("the last one"):
            pass
        assert bodies == []
        await asyncio.to_thread(stop_tracing, settings, "ends-soon")
    assert any(b"the last one" in body for body in bodies)


@pytest.mark.asyncio
async def test_metrics_of_the_sdk_are_served() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    runtime = temporal_runtime(Settings(metrics_port=port))
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(f"http://127.0.0.1:{port}/metrics")).status_code == 200
    assert runtime is not None


def test_the_gateways_figures_have_no_names_in_them() -> None:
    gateway = Gateway(cast(House, None))
    gateway.counts["refused NotSupported"] += 2
    registry = CollectorRegistry()
    registry.register(GatewayCollector(gateway))
    text = generate_latest(registry).decode()
    assert "backstop_gateway_stations 0.0" in text
    assert 'backstop_gateway_events_total{event="refused NotSupported"} 2.0' in text
