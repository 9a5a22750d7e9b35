from __future__ import annotations

import stat
import tarfile
from pathlib import Path
from typing import IO, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partage.config import load_config
from partage.doctor.bundle import write_bundle
from partage.doctor.redact import MASK, redacted, secrets_of

CONFIG = """
clients:
  chat: {key: planted-chat-key-1}
  documents: {class: batch, key: "planted docs key 2"}
remotes:
  vllm: {kind: openai, url: "http://10.0.0.5:8000", models: [m], key: planted-remote-key-4}
alerts:
  notify: ["slack://planted-slack-5/x/y", "mailtos://me:planted-mail-6@example.com"]
  webhook: https://example.com/hook?token=planted-hook-7
"""
LOG = """
GET /api/chat Authorization: Bearer planted-bearer-8
{"authorization": "Bearer planted-json-9", "x": 1}
HF_TOKEN=hf_plantedtoken10abcdef OPENAI_API_KEY='sk-planted11abcdefgh'
PARTAGE_KEY_CHAT=planted-env-12 password: planted-pass-13
pulling from https://bob:planted-url-14@example.com/model?api_key=planted-query-15
client sent x-api-key: planted-header-16
ghp_planted17abcdefghij eyJhbGciOiJIUzI1NiJ9.planted18.sig
"""


@pytest.fixture
def bundle(tmp_path: Path) -> dict[str, str]:
    """Everything in an archive of a home full of secrets, by name."""
    home = tmp_path / "home"
    (home / "logs").mkdir(parents=True)
    (home / "journal").mkdir()
    file = home / "partage.yaml"
    file.write_text(CONFIG)
    (home / "logs" / "hub.log").write_text(LOG)
    (home / "journal" / "hub.jsonl").write_text('{"reason": "upstream said: planted-chat-key-1 is wrong"}\n')
    target = tmp_path / "bundle.tar.gz"
    names = write_bundle(
        target,
        home=home,
        config_file=file,
        documents={"status.json": {"note": "planted docs key 2"}, "machine.txt": LOG},
        secrets=secrets_of(load_config(file, {})),
    )
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    with tarfile.open(target) as archive:
        found = {
            member.name.removeprefix("partage-doctor/"): cast("IO[bytes]", archive.extractfile(member)).read().decode()
            for member in archive.getmembers()
        }
    assert list(found) == names
    return found


def test_no_planted_secret_is_anywhere_in_the_archive(bundle: dict[str, str]):
    assert {name for name, text in bundle.items() if "planted" in text} == set()


def test_what_is_no_secret_is_still_there(bundle: dict[str, str]):
    assert {"status.json", "machine.txt", "versions.txt", "partage.yaml", "journal.jsonl", "logs/hub.log"} == set(
        bundle
    )
    assert "class: batch" in bundle["partage.yaml"]
    assert "kind: openai" in bundle["partage.yaml"]
    assert "example.com/model" in bundle["logs/hub.log"]
    assert "msgspec==" in bundle["versions.txt"]
    assert "upstream said" in bundle["journal.jsonl"]


@pytest.mark.parametrize(
    "text",
    ["keep_alive: 5m", "prompt_tokens=12", "tokens/s 42.0", "model: llama3.2:latest", "key_env: CHAT_KEY", "monkey: 3"],
)
def test_plain_settings_and_figures_are_left_as_they_are(text: str):
    assert redacted(text) == text


@given(st.text(alphabet=st.characters(codec="ascii", categories=["L", "N"]), min_size=8, max_size=60))
def test_a_known_secret_never_survives_wherever_it_stands(secret: str):
    text = redacted(f"{secret} x{secret}y http://h/{secret}?a={secret}", [secret])
    assert secret not in text or secret in MASK
