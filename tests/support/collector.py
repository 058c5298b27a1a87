"""A collector of ours: takes spans by OTLP over HTTP, and can be told to misbehave."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One span, as the collector was told of it."""

    service: str
    name: str
    kind: str
    trace_id: str
    id: str
    parent: str
    is_error: bool
    attributes: Mapping[str, str | int]


class Collector:
    """What was taken. `status` is what it answers; while `holds` is set, it does not."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.asked = 0
        self.status = 200
        self.port = 0
        self._goes_on = threading.Event()
        self._goes_on.set()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def hold(self) -> None:
        """Take requests and answer none."""
        self._goes_on.clear()

    def go_on(self) -> None:
        """Answer again."""
        self._goes_on.set()

    def take(self, path: str, headers: dict[str, str], body: bytes) -> int:
        """Return the status of the answer."""
        self.asked += 1
        self._goes_on.wait()
        if self.status == 200:
            assert path == "/v1/traces"
            self.bodies.append(body)
            self.headers.append(headers)
        return self.status

    @property
    def spans(self) -> list[Told]:
        """All spans, as they came."""
        return [one for body in self.bodies for one in _spans_in(body)]

    def named(self, name: str) -> list[Told]:
        """The spans of a name."""
        return [one for one in self.spans if one.name == name]


def _spans_in(body: bytes) -> Iterator[Told]:
    for group in ExportTraceServiceRequest.FromString(body).resource_spans:
        resource = {one.key: one.value.string_value for one in group.resource.attributes}
        for scope in group.scope_spans:
            for span in scope.spans:
                yield Told(
                    service=resource["service.name"],
                    name=span.name,
                    kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
                    trace_id=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    is_error=span.status.code == 2,
                    attributes={
                        one.key: one.value.string_value or one.value.int_value
                        for one in span.attributes
                    },
                )


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector on loopback."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = collector.take(self.path, dict(self.headers), body)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield collector
    finally:
        collector.go_on()
        server.shutdown()
        thread.join()
        server.server_close()
