"""Settings of every process, from the environment (prefix BACKSTOP_) or secret files.

The same names serve `make dev`, the image and production. Insecure defaults exist only in `environment=dev`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_DEV_SECRET = "development-only"  # noqa: S105  refused outside development, see below


class Settings(BaseSettings):
    """One process's settings. Raises ValueError in production where a secret is missing."""

    model_config = SettingsConfigDict(env_prefix="BACKSTOP_", extra="ignore")

    environment: Literal["dev", "production"] = "dev"
    database_url: str = "postgresql://postgres@127.0.0.1:5432/backstop"
    temporal_address: str = "127.0.0.1:7233"
    temporal_namespace: str = "default"
    temporal_api_key: SecretStr | None = None
    temporal_tls: bool = False

    api_host: str = "127.0.0.1"
    api_port: int = 8080
    public_url: str = Field("http://127.0.0.1:8080", description="How partners reach our API process.")
    cursor_secret: SecretStr = SecretStr(_DEV_SECRET)

    gateway_host: str = "127.0.0.1"
    gateway_port: int = 9310
    gateway_health_port: int = 9311
    gateway_instance: str = "gw-1"
    gateway_tls_port: int | None = Field(None, description="Security profiles 2 and 3; unset = no TLS port.")
    gateway_tls_cert: Path | None = Field(None, description="Certificate chain, PEM.")
    gateway_tls_key: Path | None = None
    gateway_behind_tls_proxy: bool = Field(False, description="Believe the proxy's X-Forwarded-Proto.")
    station_ca_cert: Path | None = Field(None, description="Authority for station certificates, PEM.")
    station_ca_key: Path | None = Field(
        None, description="Its key; unset = certificates are not signed here."
    )
    station_operator: str = Field("Backstop", description="The O of station certificates.")
    allow_unauthenticated_stations: bool = Field(
        False, description="Security profile 0 counts. Development only."
    )
    transfer_hosts: frozenset[str] = Field(
        frozenset(), description="Hosts that firmware may come from and logs may go to."
    )
    meter_evidence_interval_s: float = 60.0
    quiet_evidence_s: float = Field(
        15.0, description="Progress waits so long for other news, so as not to fill histories."
    )

    otel_endpoint: str | None = Field(None, description="OTLP/HTTP collector; unset = no tracing.")
    metrics_port: int | None = Field(None, description="Prometheus port of workers; unset = no metrics.")
    metrics_host: str = "127.0.0.1"
    log_level: str = "INFO"
    log_format: Literal["json", "console"] = "json"

    worker_versioning: bool = Field(
        True, description="Stops stay on the code that began them. Off where code changes under kept state."
    )
    deployment_name: str = Field("backstop-stops", pattern=r"^[A-Za-z0-9_-]{1,60}$")
    build_id: str | None = Field(None, description="Unset: a hash of the code that decides in workflows.")
    become_current: bool = Field(
        False, description="A worker that starts makes its version current. One kind of worker only."
    )
    workflow_cache: int = Field(
        3000,
        description="Stops kept in memory (a third of a megabyte each); others are replayed when heard of.",
    )
    workflow_tasks: int = Field(
        16,
        description="Workflow tasks at once. They share one processor: more only make each take longer.",
    )
    max_concurrent_activities: int = 100
    drain_s: float = Field(12.0, description="For running work to finish on SIGTERM.")
    ocpi_country_code: str = "DE"
    ocpi_party_id: str = "BKS"
    ocpi_name: str = "Backstop"
    enode_config: Path | None = Field(None, description="JSON file with telematics connections.")

    @model_validator(mode="after")
    def _no_development_secrets_in_production(self) -> Settings:
        if self.environment == "production" and self.cursor_secret.get_secret_value() == _DEV_SECRET:
            raise ValueError("BACKSTOP_CURSOR_SECRET must be set in production")
        if self.environment == "production" and self.allow_unauthenticated_stations:
            raise ValueError("BACKSTOP_ALLOW_UNAUTHENTICATED_STATIONS is for development only")
        return self
