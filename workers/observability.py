"""Logs, traces and metrics of every process. Off by default except logs: BACKSTOP_OTEL_ENDPOINT switches
traces on, BACKSTOP_METRICS_PORT metrics. See docs/observability.md.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, Final, Literal, Protocol, cast

import structlog
from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from pydantic_settings import BaseSettings, SettingsConfigDict
from temporalio import activity, client, worker
from temporalio.contrib.opentelemetry import TracingInterceptor
from temporalio.runtime import LoggingConfig, PrometheusConfig, Runtime, TelemetryConfig, TelemetryFilter


class Observable(Protocol):
    """The settings read here; any object with these fields will do (workers/settings.py has them)."""

    @property
    def otel_endpoint(self) -> str | None: ...
    @property
    def metrics_port(self) -> int | None: ...
    @property
    def log_level(self) -> str: ...


class _Presentation(BaseSettings):
    """What only this room needs: BACKSTOP_METRICS_HOST (0.0.0.0 in a container) and BACKSTOP_LOG_FORMAT."""

    model_config = SettingsConfigDict(env_prefix="BACKSTOP_", extra="ignore")

    metrics_host: str = "127.0.0.1"
    log_format: Literal["json", "console"] = "json"


# Logs

_SECRET_KEY: Final = re.compile(
    r"secret|passw|token|authoriz|api[_-]?key|credential|cookie|signature", re.IGNORECASE
)
_SECRET_TEXT: Final = re.compile(
    r"(?P<scheme>\b(?:bearer|basic|token)\s+)[A-Za-z0-9._~+/=-]{6,}"
    r"|(?P<url>\w+://[^\s:/@]*:)[^\s@/]+(?=@)"
    r"|(?P<pair>\b\w*(?:secret|passw(?:or)?d|api[_-]?key|access_token)\w*[\"']?\s*[=:]\s*[\"']?)[^\s\"',;&}]+",
    re.IGNORECASE,
)
_SCRUBBED: Final = "[scrubbed]"
_LOGGED_EXTRAS: Final = ("temporal_workflow", "temporal_activity")


def _scrub_text(text: str) -> str:
    return _SECRET_TEXT.sub(lambda m: (m["scheme"] or m["url"] or m["pair"] or "") + _SCRUBBED, text)


def _scrub_value(key: str, value: Any) -> Any:
    if _SECRET_KEY.search(key):
        return _SCRUBBED
    if isinstance(value, str):
        return _scrub_text(value)
    if isinstance(value, dict):
        items = cast("dict[Any, Any]", value)
        return {k: _scrub_value(str(k), v) for k, v in items.items()}
    if isinstance(value, list | tuple):
        return [_scrub_value("", v) for v in cast("Sequence[Any]", value)]
    if isinstance(value, bool | int | float) or value is None:
        return value
    return _scrub_text(str(value))


def scrub(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Removes secrets from a log line: by the name of the field, and by shape within text and tracebacks."""
    return {key: _scrub_value(key, value) for key, value in event.items()}


def _from_temporal(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Lifts what Temporal's own loggers know into our three fields."""
    for name in _LOGGED_EXTRAS:
        info = event.pop(name, None)
        if isinstance(info, dict):
            known = cast("dict[str, Any]", info)
            for key, value in _identity(
                str(known.get("workflow_id", "")), str(known.get("run_id", ""))
            ).items():
                event.setdefault(key, value)
            if attempt := known.get("attempt"):
                event.setdefault("try", attempt)
    return event


def _identity(workflow_id: str, run_id: str) -> dict[str, str]:
    """tenant, stop and run of a workflow id (`stop:<tenant>:<business key>`)."""
    kind, _, rest = workflow_id.partition(":")
    tenant = rest.partition(":")[0] if kind == "stop" else ""
    found = {"tenant": tenant, "stop": workflow_id, "run": run_id}
    return {key: value for key, value in found.items() if value}


def configure_logging(settings: Observable) -> None:
    """One line per event on stderr (JSON, or readable with log_format=console); standard logging goes the
    same way. Call once, first thing in a process; again replaces what was set."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    json = _Presentation().log_format == "json"
    renderer = structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer(colors=False)
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            *shared,
            structlog.stdlib.ExtraAdder(allow=list(_LOGGED_EXTRAS)),
            _from_temporal,
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            scrub,
            renderer,
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    # Their access lines and request lines would double ours, and carry URLs with ids of callers.
    for noisy in ("httpx", "httpcore", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    for own_handlers in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(own_handlers).handlers.clear()
        logging.getLogger(own_handlers).propagate = True


def log_context(
    *, tenant: str | None = None, stop: str | None = None, run: str | None = None
) -> AbstractContextManager[Any]:
    """Every line logged within carries these."""
    given = {"tenant": tenant, "stop": stop, "run": run}
    return structlog.contextvars.bound_contextvars(**{k: v for k, v in given.items() if v})


class LogContextInterceptor(worker.Interceptor):
    """Worker interceptor: log lines of activities carry tenant, stop and run."""

    def intercept_activity(
        self, next: worker.ActivityInboundInterceptor
    ) -> worker.ActivityInboundInterceptor:
        return _LogContextActivity(next)


class _LogContextActivity(worker.ActivityInboundInterceptor):
    async def execute_activity(self, input: worker.ExecuteActivityInput) -> Any:
        info = activity.info()
        with log_context(**_identity(info.workflow_id or "", info.workflow_run_id or "")):
            return await self.next.execute_activity(input)


# Traces


@cache
def _provider(endpoint: str, service: str) -> TracerProvider:
    """One per process: a second exporter would send every span twice."""
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: service}))
    exporter = OTLPSpanExporter(endpoint=endpoint.rstrip("/") + "/v1/traces", timeout=5)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return provider


def tracer_provider(settings: Observable, service: str) -> TracerProvider | None:
    """This process's provider, exporting to the collector; None when tracing is off."""
    return _provider(settings.otel_endpoint, service) if settings.otel_endpoint else None


def tracing_interceptors(
    settings: Observable, service: str, provider: TracerProvider | None = None
) -> list[client.Interceptor]:
    """For `Client.connect(interceptors=...)`: a worker made from that client inherits them, so give them to
    the client only. `provider` overrides the exporting one (tests). Empty when tracing is off."""
    provider = provider or tracer_provider(settings, service)
    if provider is None:
        return []
    return [TracingInterceptor(provider.get_tracer("backstop.temporal"))]


def instrument_http(
    settings: Observable, service: str, app: FastAPI | None = None, provider: TracerProvider | None = None
) -> bool:
    """Spans for the app's requests and for every httpx call made after this. Call it once, before the app
    serves. Returns whether tracing is on."""
    provider = provider or tracer_provider(settings, service)
    if provider is None:
        return False
    if app is not None:
        FastAPIInstrumentor.instrument_app(
            app,
            tracer_provider=provider,
            excluded_urls="/healthz,/readyz,/metrics",
            exclude_spans=["send", "receive"],
        )
    instrumentor = HTTPXClientInstrumentor()
    if not instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.instrument(tracer_provider=provider)
    return True


def stop_tracing(settings: Observable, service: str) -> None:
    """Sends what is still buffered. Call it last in a graceful stop; it blocks for some seconds at most."""
    provider = tracer_provider(settings, service)
    if provider is not None:
        provider.shutdown()


# Metrics


def temporal_runtime(settings: Observable) -> Runtime | None:
    """The runtime for `Client.connect(runtime=...)` with SDK metrics for Prometheus; None when off. Make one
    per process: it binds the port."""
    if settings.metrics_port is None:
        return None
    host = _Presentation().metrics_host
    return Runtime(
        telemetry=TelemetryConfig(
            logging=LoggingConfig(filter=TelemetryFilter(core_level="WARN", other_level="ERROR")),
            metrics=PrometheusConfig(
                bind_address=f"{host}:{settings.metrics_port}",
                counters_total_suffix=True,
                unit_suffix=True,
                durations_as_seconds=True,
            ),
        )
    )
