"""One trace per request (queued, load, prefill, decode), sent as OTLP over HTTP in JSON where an endpoint is configured.

The format is the OpenTelemetry protocol's own (ExportTraceServiceRequest); a collector takes it on port 4318. Sent in a
daemon thread: a collector that is gone costs the oldest traces, and nothing else.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
import urllib.request
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException

from partage.domain import Client, EngineId, RequestId
from partage.errors import ConfigError, PartageError
from partage.json_value import JsonObject, JsonValue
from partage.policy.actions import Action, Refuse, Serve, StartEngine
from partage.policy.events import Demand, EngineReady, Event, RequestArrived, RequestFinished, RequestRequeued

log = logging.getLogger(__name__)

MOST_WAITING = 2000
PER_MESSAGE = 200
EVERY_S = 5.0
TIMEOUT_S = 10.0
FAILURES = (OSError, HTTPException)
"""HTTPException: something answers that does not speak HTTP, such as OTLP's other port (4317, gRPC)."""
SERVER, INTERNAL = 2, 1
"""Span kinds of the protocol."""
OK, ERROR = 1, 2
"""Status codes of the protocol."""


@dataclass(slots=True)
class Passage:
    """One request's way through the hub. Seconds on the hub's clock."""

    demand: Demand
    arrived_s: float
    served_s: float | None = None
    load: tuple[float, float] | None = None
    """When its model was being loaded, as far as the request waited for it."""
    first_output_s: float | None = None
    ended_s: float = 0.0
    outcome: str = ""
    prompt_tokens: int = 0
    output_tokens: int = 0


class Traces:
    """An observer of the hub; `start` begins to send, `stop` ends it without waiting."""

    def __init__(self, endpoint: str, version: str, offset_s: Callable[[], float]) -> None:
        """`offset_s`: the hub's clock to seconds since 1970. Raises ConfigError."""
        if not endpoint.startswith(("http://", "https://")):
            raise ConfigError("hub.traces must begin with http:// or https://, as in http://collector:4318/v1/traces")
        self._endpoint = endpoint
        self._version = version
        self._offset_s = offset_s
        self._open: dict[RequestId, Passage] = {}
        self._loads: dict[EngineId, tuple[float, float | None]] = {}
        self._ended: deque[Passage] = deque(maxlen=MOST_WAITING)
        self._stopped = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name="traces", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def refused(self, client: Client, model: str, error: PartageError) -> None:
        """Those that reached the policy come as its actions; the others had no way to trace."""

    def decided(self, at_s: float, event: Event, actions: Sequence[Action]) -> None:
        match event:
            case RequestArrived(demand=demand):
                self._open[demand.id] = Passage(demand, at_s)
            case RequestFinished():
                self._finished(event, at_s)
            case RequestRequeued(request=request) if request in self._open:
                self._open[request].served_s = None
            case EngineReady(engine=engine) if engine in self._loads:
                self._loads[engine] = (self._loads[engine][0], at_s)
            case _:
                pass
        for action in actions:
            match action:
                case Serve(request=request, engine=engine) if request in self._open:
                    self._served(self._open[request], engine, at_s)
                case StartEngine(engine=engine):
                    self._loads[engine] = (at_s, None)
                    while len(self._loads) > MOST_WAITING:
                        del self._loads[next(iter(self._loads))]
                case Refuse(request=request, kind=kind):
                    self._end(request, at_s, f"refused: {kind}")
                case _:
                    pass

    def _served(self, passage: Passage, engine: EngineId, at_s: float) -> None:
        passage.served_s = at_s
        began_s, ready_s = self._loads.get(engine, (0.0, None))
        if ready_s is not None and ready_s > passage.arrived_s:
            passage.load = (max(began_s, passage.arrived_s), min(ready_s, at_s))

    def _finished(self, event: RequestFinished, at_s: float) -> None:
        passage = self._open.get(event.request)
        if passage is not None:
            passage.prompt_tokens, passage.output_tokens = event.prompt_tokens or 0, event.output_tokens
            if event.first_output_s is not None:
                passage.first_output_s = passage.arrived_s + event.first_output_s
            self._end(event.request, at_s, event.outcome)

    def _end(self, request: RequestId, at_s: float, outcome: str) -> None:
        passage = self._open.pop(request, None)
        if passage is not None:
            passage.ended_s, passage.outcome = at_s, outcome
            self._ended.append(passage)

    def _run(self) -> None:
        failing = False
        while not self._stopped.wait(EVERY_S):
            try:
                while self.send():
                    pass
                failing = False
            except FAILURES as error:
                if not failing:
                    log.warning("traces wait for %s: %s", self._endpoint, error)
                failing = True

    def send(self) -> bool:
        """One message with what has ended; False when there was nothing. Raises one of FAILURES, and keeps what it had."""
        taken = [self._ended.popleft() for _ in range(min(PER_MESSAGE, len(self._ended)))]
        if not taken:
            return False
        body = json.dumps(message_of(taken, self._offset_s(), self._version)).encode()
        request = urllib.request.Request(  # noqa: S310 the scheme was checked
            self._endpoint, body, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S):  # noqa: S310
                return True
        except FAILURES:
            self._ended.extendleft(reversed(taken[-(MOST_WAITING - len(self._ended)) :]))
            raise


def message_of(passages: Sequence[Passage], offset_s: float, version: str) -> JsonObject:
    """An ExportTraceServiceRequest."""
    resource = _attributes({"service.name": "partage", "service.version": version})
    spans: list[JsonValue] = [span for passage in passages for span in spans_of(passage, offset_s)]
    return {"resourceSpans": [{"resource": {"attributes": resource}, "scopeSpans": [{"spans": spans}]}]}


def spans_of(passage: Passage, offset_s: float) -> list[JsonObject]:
    """The whole, then its parts; a part that was not reached is left out."""
    trace, root, demand = secrets.token_hex(16), secrets.token_hex(8), passage.demand

    def span(name: str, id_: str, kind: int, begin_s: float, end_s: float) -> JsonObject:
        return {
            "traceId": trace,
            "spanId": id_,
            "name": name,
            "kind": kind,
            "startTimeUnixNano": str(int((begin_s + offset_s) * 1e9)),
            "endTimeUnixNano": str(int((max(begin_s, end_s) + offset_s) * 1e9)),
        }

    whole = span("request", root, SERVER, passage.arrived_s, passage.ended_s)
    whole["status"] = {"code": OK if passage.outcome in ("done", "cancelled") else ERROR}
    whole["attributes"] = _attributes(
        {
            "partage.client": demand.client,
            "partage.class": demand.class_.name.lower(),
            "partage.outcome": passage.outcome,
            "gen_ai.request.model": demand.model,
            "gen_ai.usage.input_tokens": passage.prompt_tokens,
            "gen_ai.usage.output_tokens": passage.output_tokens,
        }
    )
    served_s = passage.served_s
    parts: list[tuple[str, float, float]] = [
        ("queued", passage.arrived_s, passage.ended_s if served_s is None else served_s)
    ]
    if passage.load is not None:
        parts.append(("load", *passage.load))
    if served_s is not None:
        first_s = passage.ended_s if passage.first_output_s is None else passage.first_output_s
        parts.append(("prefill", served_s, first_s))
        if passage.first_output_s is not None:
            parts.append(("decode", first_s, passage.ended_s))
    return [
        whole,
        *(
            {**span(name, secrets.token_hex(8), INTERNAL, begin, end), "parentSpanId": root}
            for name, begin, end in parts
        ),
    ]


def _attributes(values: dict[str, str | int]) -> list[JsonValue]:
    return [
        {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
        for key, value in values.items()
    ]
