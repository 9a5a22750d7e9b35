from __future__ import annotations

import time
from dataclasses import replace

from partage.api.conversation import conversation
from partage.api.fake_hub import CHATTY
from partage.work import Image, Message, ToolCall

PNG = Image(data=b"png", media_type="image/png")
CALL, OTHER = (ToolCall(id=id_, name=name, arguments="{}") for id_, name in (("c1", "look"), ("c2", "smell")))


def user(content: str, images: tuple[Image, ...] = ()) -> Message:
    return Message(role="user", content=content, images=images)


def assistant(content: str = "", thinking: str = "", calls: tuple[ToolCall, ...] = ()) -> Message:
    return Message(role="assistant", content=content, thinking=thinking, tool_calls=calls)


def test_two_in_a_row_of_one_role_are_one_with_all_that_both_have():
    system = Message(role="system", content="be kind")
    brief = Message(role="system", content="be brief")
    messages = (system, brief, user("look", (PNG,)), user("what is it?", (PNG,)), user(""))
    assert conversation(CHATTY, messages) == (
        Message(role="system", content="be kind\n\nbe brief"),
        user("look\n\nwhat is it?", (PNG, PNG)),
    )


def test_thoughts_words_and_calls_of_one_turn_are_one_message():
    turn = (assistant(thinking="hm"), assistant("let me see"), assistant(calls=(CALL,)), assistant(calls=(OTHER,)))
    assert conversation(CHATTY, turn) == (assistant("let me see", "hm", (CALL, OTHER)),)


def test_a_hundred_thousand_messages_are_one_at_once():
    began = time.monotonic()
    (one,) = conversation(CHATTY, (user("x" * 100),) * 100_000)
    assert (len(one.content), time.monotonic() - began < 2.0) == (100_000 * 102 - 2, True)


def test_what_is_said_after_a_call_is_another_turn():
    messages = (assistant(calls=(CALL,)), assistant("it did not answer"))
    assert conversation(CHATTY, (messages[0], assistant(), messages[1])) == messages
    assert conversation(CHATTY, messages) == messages


def test_results_stay_apart_and_get_the_name_of_what_was_called():
    results = (
        Message(role="tool", content="a cat", tool_call_id="c1"),
        Message(role="tool", content="?", tool_call_id="x"),
    )
    named = conversation(CHATTY, (assistant(calls=(CALL, OTHER)), *results))
    assert [(one.content, one.tool_name) for one in named[1:]] == [("a cat", "look"), ("?", "")]
    own = replace(results[0], tool_name="mine")
    assert conversation(CHATTY, (assistant(calls=(CALL,)), own))[1] == own


def test_both_system_prompts_of_the_client_go_before_what_the_model_brings():
    model = replace(CHATTY, system="own", messages=(user("hi"), assistant("ho")))
    both = (Message(role="system", content="a"), Message(role="system", content="b"), user("x"))
    assert [one.content for one in conversation(model, both)] == ["a\n\nb", "hi", "ho", "x"]
