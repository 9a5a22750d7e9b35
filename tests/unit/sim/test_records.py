from __future__ import annotations

from pathlib import Path

import pytest

from partage.sim.records import Record, TraceUnreadable, read_records

AZURE_2024 = "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.0099300+00:00,37,9\n2024-05-10 00:00:02.5099300+00:00,7,1\n"
BURSTGPT = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,ChatGPT,472,18,490,Conversation log\n45.5,GPT-4,10,0,10,API log\n"
VIDUR = "arrived_at,num_prefill_tokens,num_decode_tokens\n0.0,374,44\n1.5,396,109\n"
MOONCAKE = (
    '{"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47]}\n'
    '{"timestamp": 30535, "input_length": 6472, "output_length": 26, "hash_ids": [46]}\n'
)
BAILIAN = (
    '{"chat_id": 1, "timestamp": 61.114, "input_length": 10, "output_length": 5, "turn": 1, "hash_ids": []}\n'
    '{"chat_id": 2, "timestamp": 62.0, "input_length": 11, "output_length": 6, "turn": 1, "hash_ids": []}\n'
)
VTC = '{"req_id": 0, "adapter_dir": "m3", "prompt_len": 8, "output_len": 201, "req_time": 0.25}\n'
OWN = "user,model,time,prompt_tokens,completion_tokens\nann,chat,00:01:02.5,10,20\nbob,code,1:00:00,1,2\n"
UNIX_MS = "timestamp,input_tokens,output_tokens\n1700158546000,1,2\n1700158547500,1,2\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "trace"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "records"),
    [
        (AZURE_2024, [Record(0.0, "", "", 37, 9), Record(2.5, "", "", 7, 1)]),
        (BURSTGPT, [Record(5.0, "ChatGPT", "", 472, 18), Record(45.5, "GPT-4", "", 10, 0)]),
        (VIDUR, [Record(0.0, "", "", 374, 44), Record(1.5, "", "", 396, 109)]),
        (MOONCAKE, [Record(27.482, "", "", 6955, 52), Record(30.535, "", "", 6472, 26)]),
        (BAILIAN, [Record(61.114, "", "", 10, 5), Record(62.0, "", "", 11, 6)]),
        (VTC, [Record(0.25, "m3", "", 8, 201)]),
        (OWN, [Record(62.5, "chat", "ann", 10, 20), Record(3600.0, "code", "bob", 1, 2)]),
        (UNIX_MS, [Record(0.0, "", "", 1, 2), Record(1.5, "", "", 1, 2)]),
    ],
)
def test_public_traces_are_read_by_the_names_of_their_columns(tmp_path: Path, text: str, records: list[Record]) -> None:
    path = written(tmp_path, text)
    assert [(round(one.at_s, 6), *_rest(one)) for one in read_records(path)] == [
        (one.at_s, *_rest(one)) for one in records
    ]


def _rest(one: Record) -> tuple[str, str, int, int]:
    return one.model, one.client, one.prompt_tokens, one.output_tokens


@pytest.mark.parametrize(
    "text",
    [
        "time,input_tokens\n1,2\n",
        "time,input_tokens,output_tokens\n1,2\n",
        "time,input_tokens,output_tokens\nnan,2,3\n",
        "time,input_tokens,output_tokens\n1,-2,3\n",
        "time,input_tokens,output_tokens\n1,2,inf\n",
        '{"time": 1, "input_tokens": null, "output_tokens": 3}\n',
        '{"time": 1, "input_tokens": 2, "output_tokens": 3}\n{"time":\n',
        "\x00\x01\n",
    ],
)
def test_what_cannot_be_a_request_is_said_with_the_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(TraceUnreadable, match="trace"):
        read_records(written(tmp_path, text))
