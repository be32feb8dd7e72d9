"""Log lines: JSON, with tenant, stop and run, standard logging included, and no secret."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import pytest
import structlog

from workers.observability import configure_logging, log_context


@dataclass
class Settings:
    otel_endpoint: str | None = None
    metrics_port: int | None = None
    log_level: str = "INFO"


@pytest.fixture
def logging_on() -> Generator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configure_logging(Settings())
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def redirect() -> None:
    handler = logging.getLogger().handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(sys.stderr)


def test_both_kinds_of_logger_write_one_json_line_with_the_context(
    logging_on: None, capsys: pytest.CaptureFixture[str]
) -> None:
    redirect()
    with log_context(tenant="demo", stop="stop_1", run="run-1"):
        structlog.stdlib.get_logger("ours").info("planned", candidates=3)
        logging.getLogger("theirs").warning("slow %s", "disk")
    structlog.stdlib.get_logger("ours").info("outside")
    first, second, third = lines(capsys)
    assert (first["event"], first["candidates"], first["level"]) == ("planned", 3, "info")
    assert (second["event"], second["logger"]) == ("slow disk", "theirs")
    for line in (first, second):
        assert (line["tenant"], line["stop"], line["run"]) == ("demo", "stop_1", "run-1")
    assert "tenant" not in third


def test_lines_of_temporals_own_loggers_carry_tenant_stop_and_run(
    logging_on: None, capsys: pytest.CaptureFixture[str]
) -> None:
    redirect()
    info = {"workflow_id": "stop:demo:tour-1.leg-2", "run_id": "r1", "attempt": 2}
    logging.getLogger("temporalio.workflow").warning("late", extra={"temporal_workflow": info})
    (line,) = lines(capsys)
    assert (line["tenant"], line["stop"], line["run"]) == ("demo", "stop:demo:tour-1.leg-2", "r1")


def test_secrets_are_scrubbed_by_name_and_by_shape(
    logging_on: None, capsys: pytest.CaptureFixture[str]
) -> None:
    redirect()
    log = structlog.stdlib.get_logger("ours")
    log.info("call", authorization="Bearer abcdef123456", headers={"x-api-key": "k-999", "n": [1]})
    log.info("sent Bearer abcdef123456 to postgresql://bs:pa55word@db/x?client_secret=s3cr3tvalue")
    try:
        raise RuntimeError("password=hunter2hunter2")
    except RuntimeError:
        log.exception("failed")
    text = capsys.readouterr().err
    for secret in ("abcdef123456", "k-999", "pa55word", "s3cr3tvalue", "hunter2hunter2"):
        assert secret not in text
    assert text.count("[scrubbed]") >= 5
    assert "postgresql://bs:" in text
    assert "@db/x" in text
