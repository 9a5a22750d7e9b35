from __future__ import annotations

import base64
from contextlib import AbstractContextManager, nullcontext
from http.client import BadStatusLine
from typing import Any

import pytest

from partage.domain import Class
from partage.errors import ConfigError
from partage.json_value import JsonValue
from partage.policy.actions import Refuse, Serve, StartEngine
from partage.policy.events import Demand, EngineReady, RequestArrived, RequestFinished
from partage.watch import traces as tracing
from partage.watch.traces import MOST_WAITING, Traces, message_of, spans_of

from .conftest import placement

DEMAND = Demand(id="r1", model="m:latest", client="chat", class_=Class.INTERACTIVE)


def make() -> Traces:
    return Traces("http://127.0.0.1:9/v1/traces", "1.2.3", lambda: 1000.0)


def serve(traces: Traces, request: str = "r1") -> None:
    demand = Demand(id=request, model="m:latest", client="chat", class_=Class.INTERACTIVE)
    start = StartEngine(engine="e", model="m:latest", placement=placement(), reason="fits free memory")
    traces.decided(10.0, RequestArrived(demand), (start,))
    traces.decided(13.0, EngineReady(engine="e", load_s=3.0), (Serve(request=request, engine="e"),))
    traces.decided(20.0, RequestFinished(request=request, prompt_tokens=7, output_tokens=5, first_output_s=4.0), ())


def times(spans: list[Any]) -> dict[str, tuple[float, float]]:
    return {one["name"]: (int(one["startTimeUnixNano"]) / 1e9, int(one["endTimeUnixNano"]) / 1e9) for one in spans}


def test_an_answer_is_one_trace_with_its_parts_at_their_times():
    traces = make()
    serve(traces)
    (passage,) = traces._ended
    spans: list[Any] = list(spans_of(passage, 1000.0))
    assert times(spans) == {
        "request": (1010.0, 1020.0),
        "queued": (1010.0, 1013.0),
        "load": (1010.0, 1013.0),
        "prefill": (1013.0, 1014.0),
        "decode": (1014.0, 1020.0),
    }
    assert len({one["traceId"] for one in spans}) == 1
    assert {one.get("parentSpanId") for one in spans[1:]} == {spans[0]["spanId"]}


def test_what_was_refused_while_it_waited_has_no_parts_it_did_not_reach():
    traces = make()
    traces.decided(10.0, RequestArrived(DEMAND), ())
    later = RequestArrived(Demand(id="r2", model="m:latest", client="chat"))
    traces.decided(12.0, later, (Refuse(request="r1", kind="deadline", message="too late"),))
    (passage,) = traces._ended
    spans = spans_of(passage, 0.0)
    assert list(times(spans)) == ["request", "queued"]
    assert spans[0]["status"] == {"code": tracing.ERROR}


def test_the_message_is_otlp_json_with_numbers_as_strings():
    traces = make()
    serve(traces)
    message: Any = message_of(list(traces._ended), 0.0, "1.2.3")
    whole = message["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    attributes = {one["key"]: one["value"] for one in whole["attributes"]}
    assert attributes["gen_ai.usage.output_tokens"] == {"intValue": "5"}
    assert attributes["partage.client"] == {"stringValue": "chat"}
    assert len(whole["traceId"]) == 32
    assert len(whole["spanId"]) == 16


def test_a_collector_that_is_gone_costs_the_oldest_traces_only(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **__: object) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr(tracing.urllib.request, "urlopen", refuse)
    traces = make()
    for number in range(MOST_WAITING + 500):
        serve(traces, f"r{number}")
    with pytest.raises(OSError):  # noqa: PT011 whatever the network says
        traces.send()
    assert len(traces._ended) == MOST_WAITING
    assert [traces._ended[0].demand.id, traces._ended[-1].demand.id] == ["r500", f"r{MOST_WAITING + 499}"]
    assert traces._open == {}


def test_a_collector_that_does_not_speak_http_is_asked_again(monkeypatch: pytest.MonkeyPatch):
    """As on OTLP's other port, 4317, where gRPC answers."""
    traces = make()
    answers = iter([BadStatusLine("\0\0\x06\x04"), None])

    def answer(*_: object, **__: object) -> AbstractContextManager[None]:
        if error := next(answers):
            raise error
        traces.stop()
        return nullcontext()

    monkeypatch.setattr(tracing.urllib.request, "urlopen", answer)
    monkeypatch.setattr(tracing, "EVERY_S", 0.0)
    serve(traces)
    traces._run()
    assert not traces._ended


def test_an_endpoint_that_is_no_web_address_is_refused_at_the_start():
    with pytest.raises(ConfigError, match=r"hub\.traces"):
        Traces("collector:4317", "1", lambda: 0.0)


def test_a_collector_reads_the_message_as_the_protocols_own_definition():
    service = pytest.importorskip(
        "opentelemetry.proto.collector.trace.v1.trace_service_pb2", reason="opentelemetry-proto is not installed"
    )
    json_format = pytest.importorskip("google.protobuf.json_format")
    traces = make()
    serve(traces)
    message = message_of(list(traces._ended), 1000.0, "1.2.3")
    # Strict: an unknown field or a wrong type is an error.
    request = json_format.ParseDict(_as_protobuf_json(message), service.ExportTraceServiceRequest())
    spans = request.resource_spans[0].scope_spans[0].spans
    assert [one.name for one in spans] == ["request", "queued", "load", "prefill", "decode"]
    assert {(len(one.trace_id), len(one.span_id)) for one in spans} == {(16, 8)}


def _as_protobuf_json(part: JsonValue) -> JsonValue:
    """OTLP writes ids in hexadecimal where protobuf's own JSON has base64."""
    if isinstance(part, list):
        return [_as_protobuf_json(one) for one in part]
    if not isinstance(part, dict):
        return part
    ids = ("traceId", "spanId", "parentSpanId")
    return {
        key: base64.b64encode(bytes.fromhex(str(value))).decode() if key in ids else _as_protobuf_json(value)
        for key, value in part.items()
    }
