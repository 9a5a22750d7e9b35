from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import cast

import pytest

from partage.engine.answers import ChatReader, CompletionReader, Reader, stream_answer
from partage.engine.connection import Connection
from partage.engine.ollama_remote import OllamaReader
from partage.errors import ContextTooLong, EngineCrashed, EngineError
from partage.work import Delta, Done, Output, PromptProgress, ToolCall


def read(reader: Reader, *events: bytes) -> list[Output]:
    return [output for event in events for output in reader.read(event)]


def test_chat_chunks_become_progress_text_and_done():
    reader = ChatReader()
    outputs = read(
        reader,
        b'{"choices":[{"delta":{"role":"assistant","content":null}}],"prompt_progress":{"total":36,"cache":0,"processed":30}}',
        b'{"choices":[{"finish_reason":null,"index":0,"delta":{"content":"Hel"}}],"object":"chat.completion.chunk"}',
        b'{"choices":[{"delta":{"content":"lo"},"logprobs":{"content":[{"id":1,"token":"lo","bytes":[108,111],'
        b'"logprob":-0.5,"top_logprobs":[{"token":"lo","logprob":-0.5}]}]}}]}',
        b'{"choices":[{"finish_reason":"length","delta":{}}]}',
        b'{"choices":[],"usage":{"prompt_tokens":36,"completion_tokens":2},"timings":{"cache_n":6,"prompt_n":30,'
        b'"prompt_ms":500.0,"predicted_n":2,"predicted_ms":20.0}}',
    )
    assert outputs[0] == PromptProgress(30, 36)
    assert [output.text for output in outputs[1:] if isinstance(output, Delta)] == ["Hel", "lo"]
    last = outputs[-1]
    assert isinstance(last, Delta)
    assert (last.logprobs[0].bytes_, last.logprobs[0].top) == ((108, 111), (("lo", -0.5),))
    done = reader.done()
    assert done.finish_reason == "length"
    assert (done.usage.prompt_tokens, done.usage.cached_tokens, done.usage.output_tokens) == (36, 6, 2)
    assert (done.usage.prefill_s, done.usage.decode_s) == (0.5, 0.02)


def test_usage_without_timings_is_enough():
    reader = ChatReader()
    read(
        reader,
        b'{"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}]}',
        b'{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":4}}}',
    )
    assert (reader.done().usage.prompt_tokens, reader.done().usage.cached_tokens) == (9, 4)


@pytest.mark.parametrize(
    ("last", "stop"),
    [
        (
            b'{"choices":[{"finish_reason":"stop","delta":{}}],"__verbose":{"stop_type":"word","stopping_word":"END"}}',
            "END",
        ),
        (b'{"choices":[{"finish_reason":"stop","delta":{}}],"__verbose":{"stop_type":"eos","stopping_word":""}}', ""),
        (b'{"choices":[{"finish_reason":"stop","stop_reason":"END","delta":{}}]}', "END"),
        (b'{"choices":[{"finish_reason":"stop","stop_reason":128009,"delta":{}}]}', ""),
        (b'{"choices":[{"finish_reason":"stop","stop_reason":null,"delta":{}}]}', ""),
    ],
)
def test_the_stop_that_ended_it_is_read_as_llama_cpp_and_vllm_say_it(last: bytes, stop: str):
    reader = ChatReader()
    read(reader, last)
    assert (reader.done().finish_reason, reader.done().stop) == ("stop", stop)


@pytest.mark.parametrize("field", [b"reasoning_content", b"reasoning"])
def test_thinking_is_told_apart_from_text(field: bytes):
    assert read(ChatReader(), b'{"choices":[{"delta":{"%s":"hm"}}]}' % field) == [Delta(thinking="hm")]


def test_tool_calls_come_in_pieces():
    outputs = read(
        ChatReader(),
        b'{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c1","function":{"name":"f","arguments":""}}]}}]}',
        b'{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}}]}',
    )
    assert outputs == [
        Delta(tool_calls=((0, ToolCall(id="c1", name="f", arguments="")),)),
        Delta(tool_calls=((0, ToolCall(id="", name="", arguments="{}")),)),
    ]


@pytest.mark.parametrize(
    "reader", [ChatReader(), CompletionReader(), OllamaReader()], ids=lambda one: type(one).__name__
)
def test_answer_without_an_end_is_a_crash(reader: Reader):
    with pytest.raises(EngineCrashed):
        reader.done()


def test_error_in_the_middle_of_an_answer_is_raised():
    too_long = b'{"error":{"message":"too long","type":"exceed_context_size_error","n_prompt_tokens":9,"n_ctx":4}}'
    with pytest.raises(ContextTooLong, match=r"9 tokens.* 4"):
        read(ChatReader(), too_long)
    with pytest.raises(EngineError, match="boom"):
        read(CompletionReader(), b'{"error":{"message":"boom"}}')
    with pytest.raises(EngineError, match="boom"):
        read(OllamaReader(), b'{"error":"boom"}')


@pytest.mark.parametrize(("stop_type", "reason"), [(b"limit", "length"), (b"eos", "stop"), (b"word", "stop")])
def test_completion_says_why_it_ended(stop_type: bytes, reason: str):
    reader = CompletionReader()
    outputs = read(
        reader,
        b'{"content":"","prompt_progress":{"total":2,"processed":2}}',
        b'{"content":" a","tokens":[253],"stop":false}',
        b'{"content":"","stop":true,"stop_type":"%s","timings":{"prompt_n":2,"predicted_n":1}}' % stop_type,
    )
    assert outputs == [PromptProgress(2, 2), Delta(text=" a")]
    assert reader.done().finish_reason == reason


def test_ollama_lines_become_deltas_and_durations_seconds():
    reader = OllamaReader()
    outputs = read(
        reader,
        b'{"message":{"role":"assistant","content":"Hi","thinking":"hm"},"done":false}',
        b'{"response":"!","done":false}',
        b'{"message":{"content":"","tool_calls":[{"function":{"name":"f","arguments":{"a":1}}}]},"done":false}',
        b'{"done":true,"done_reason":"stop","prompt_eval_count":5,"prompt_eval_duration":2000000000,"eval_count":3}',
    )
    assert outputs == [
        Delta(text="Hi", thinking="hm"),
        Delta(text="!"),
        Delta(tool_calls=((0, ToolCall(id="call_0", name="f", arguments='{"a":1}')),)),
    ]
    done = reader.done()
    assert isinstance(done, Done)
    assert (done.finish_reason, done.usage.prefill_s, done.usage.output_tokens) == ("tool_calls", 2.0, 3)


async def test_answer_is_over_with_its_last_event_although_the_connection_is_not():
    class Lingering:
        async def lines(self, path: str, body: object) -> AsyncGenerator[list[bytes]]:
            del path, body
            yield [b'data: {"choices":[{"finish_reason":"stop","delta":{"content":"a"}}]}', b"", b"data: [DONE]", b""]
            await asyncio.Event().wait()

    async with asyncio.timeout(1.0):
        outputs = [output async for output in stream_answer(cast("Connection", Lingering()), "/", {}, ChatReader())]
    assert [type(output) for output in outputs] == [Delta, Done]
