"""OpenTelemetry: spans as its SDK makes them, for the outbox. Imported where tracing is on only."""

import importlib.metadata
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    set_span_in_context,
)
from opentelemetry.trace import Span as OpenTelemetrySpan

from shared.otlp import Outbox
from shared.traceparent import Place
from shared.tracing import Attributes, Kind, Tracing

_KINDS = {one.name.lower(): one for one in SpanKind}


class Telemetry(Tracing):
    """The traces of one service."""

    def __init__(self, url: str, headers: dict[str, str], *, service: str, ratio: float) -> None:
        super().__init__(self._begun, ratio)
        self._outbox: Outbox[ReadableSpan] = Outbox(url, headers, _encoded)
        version = importlib.metadata.version("oauthapps")
        named = {"service.name": f"oauthapps-{service}", "service.version": version}
        # Whether there is a span at all was decided before.
        provider = TracerProvider(ALWAYS_ON, Resource.create(named), shutdown_on_exit=False)
        provider.add_span_processor(_Ended(self._outbox))
        self._tracer = provider.get_tracer("oauthapps", version)

    def exporting(self) -> AbstractAsyncContextManager[None]:
        """Export as long as the block lasts."""
        return self._outbox.sending()

    def _begun(
        self, name: str, parent: Place | None, kind: Kind, attributes: Attributes
    ) -> "_Span":
        return _Span(self._tracer, name, parent, kind, attributes)


class _Span:
    """One that is under way."""

    def __init__(
        self, tracer: Tracer, name: str, parent: Place | None, kind: Kind, attributes: Attributes
    ) -> None:
        self._tracer = tracer
        context = None
        if parent is not None:
            sampled = TraceFlags(TraceFlags.SAMPLED)
            above = SpanContext(
                parent.trace_id, parent.span_id, is_remote=True, trace_flags=sampled
            )
            context = set_span_in_context(NonRecordingSpan(above))
        self._span: OpenTelemetrySpan = tracer.start_span(
            name, context, _KINDS[kind], attributes=attributes
        )
        own = self._span.get_span_context()
        self.place = Place(own.trace_id, own.span_id)

    def child(self, name: str, kind: Kind, attributes: Attributes) -> "_Span":
        return _Span(self._tracer, name, self.place, kind, attributes)

    def note(self, attributes: Attributes) -> None:
        self._span.set_attributes(attributes)

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def fail(self, kind: str) -> None:
        # Not by its message: there may be an address in it, or what somebody presented.
        self._span.set_attribute("error.type", kind)
        self._span.set_status(Status(StatusCode.ERROR))

    def end(self) -> None:
        self._span.end()


class _Ended(SpanProcessor):
    """Hands on what has ended."""

    def __init__(self, outbox: Outbox[ReadableSpan]) -> None:
        self._outbox = outbox

    def on_end(self, span: ReadableSpan) -> None:
        self._outbox.put(span)


def _encoded(spans: Sequence[ReadableSpan]) -> bytes:
    encoded: bytes = encode_spans(spans).SerializePartialToString()
    return encoded
