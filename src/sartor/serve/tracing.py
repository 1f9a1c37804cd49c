"""OpenTelemetry traces, when the usual OTEL_* variables ask for them; nothing is imported, sent or slowed down otherwise.

Span names and attributes hold routes, statuses and verbs, never ids: not of people, not of items, not of tenants.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sartor.errors import MissingExtra

Span = Callable[[str], AbstractContextManager[Any]]

_ASK = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER")


def wanted() -> bool:
    """Whether the environment asks for traces."""
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    return any(os.environ.get(name) for name in _ASK)


def no_span(name: str) -> AbstractContextManager[Any]:
    """What stands for a span where nobody asked for traces."""
    return nullcontext()


class Tracing:
    """Makes spans and sends them in the background by OTLP over HTTP, where the OTEL_* variables say."""

    def __init__(self, exporter: Any = None) -> None:
        try:
            from opentelemetry import propagate, trace
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor

            if exporter is None:
                from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

                exporter = OTLPSpanExporter()
        except ImportError:
            raise MissingExtra("opentelemetry-sdk", "otel") from None
        self._trace, self._propagate = trace, propagate
        self.provider = TracerProvider(resource=Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", "sartor")}))
        self.provider.add_span_processor(BatchSpanProcessor(exporter))
        self.tracer = self.provider.get_tracer("sartor.serve")

    def span(self, name: str) -> AbstractContextManager[Any]:
        """A span inside the current one."""
        return self.tracer.start_as_current_span(name)

    def close(self) -> None:
        """Send what is left."""
        self.provider.shutdown()


class Traced:
    """ASGI middleware: one span per request, inside the caller's own trace when it sends one."""

    def __init__(self, app: ASGIApp, *, tracing: Tracing) -> None:
        self.app, self.tracing = app, tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"] if name in (b"traceparent", b"tracestate")}
        parent = self.tracing._propagate.extract(carrier)
        kind = self.tracing._trace.SpanKind.SERVER
        # Errors are told by the status: an exception's words may be somebody's.
        with self.tracing.tracer.start_as_current_span("http", parent, kind, record_exception=False, set_status_on_exception=False) as span:

            async def sending(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= 500:
                        span.set_status(self.tracing._trace.StatusCode.ERROR)
                await send(message)

            try:
                await self.app(scope, receive, sending)
            finally:
                route = getattr(scope.get("sartor.route") or scope.get("route"), "path", "none")
                span.update_name(f"{scope['method']} {route}")
                span.set_attribute("http.request.method", scope["method"])
                span.set_attribute("http.route", route)
                span.set_attribute("sartor.request_id", scope["sartor.id"])
