"""The clients of Ollama and OpenAI for JavaScript, as npm has them, against a live hub."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hub_process import running_hub

pytestmark = pytest.mark.live

PINNED = ("ollama@0.6.4", "openai@6.49.0")
SCRIPT = """
import { Ollama } from 'ollama'
import OpenAI from 'openai'

const url = process.argv[2], model = 'smollm2:135m', messages = [{ role: 'user', content: 'Say hello.' }]
const found = {}
const theirs = new Ollama({ host: url })
const options = { num_predict: 6, temperature: 0 }
const whole = await theirs.chat({ model, messages, options })
let text = ''
for await (const part of await theirs.chat({ model, messages, options, stream: true })) text += part.message.content
found.ollama = { same: text === whole.message.content, count: whole.eval_count }
found.generated = (await theirs.generate({ model, prompt: 'Say hello.', options })).response.length > 0
found.vectors = (await theirs.embed({ model: 'all-minilm:22m', input: ['a', 'b'] })).embeddings.map(one => one.length)
found.models = (await theirs.list()).models.length
found.shown = (await theirs.show({ model })).details.format
found.missing = await theirs.chat({ model: 'nope', messages }).catch(error => error.status_code)
const format = { type: 'object', properties: { ok: { type: 'boolean' } }, required: ['ok'] }
found.json = typeof JSON.parse((await theirs.chat({ model, messages, format, options: { num_predict: 40 } })).message.content).ok
const endless = await theirs.generate({ model, prompt: 'Count.', stream: true, options: { num_predict: 3000 } })
for await (const part of endless) { endless.abort(); break }

const openai = new OpenAI({ baseURL: url + '/v1', apiKey: 'any', maxRetries: 0 })
const asked = { model, messages, max_tokens: 6, temperature: 0 }
const completion = await openai.chat.completions.create(asked)
let streamed = ''
for await (const chunk of await openai.chat.completions.create({ ...asked, stream: true }))
  streamed += chunk.choices[0]?.delta?.content ?? ''
found.openai = { same: streamed === completion.choices[0].message.content, reason: completion.choices[0].finish_reason }
found.embedded = (await openai.embeddings.create({ model: 'all-minilm:22m', input: 'a' })).data[0].embedding.length
found.responded = (await openai.responses.create({ model, input: 'Say hello.', max_output_tokens: 6 })).status
const stream = openai.responses.stream({ model, input: 'Say hello.', max_output_tokens: 6 })
found.events = 0
for await (const event of stream) found.events += 1
found.refused = await openai.chat.completions.create({ ...asked, n: 0 }).catch(error => error.status)
console.log(JSON.stringify(found))
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with both clients. Skips the test where there is no npm, or where it cannot get them."""
    folder = tmp_path_factory.mktemp("npm")
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("there is no npm here")
    command = [npm, "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(folder), *PINNED]
    try:
        installed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("npm could not fetch the clients within a minute")
    if installed.returncode:
        pytest.skip(f"npm cannot fetch the clients here: {installed.stderr[-200:]}")
    return folder


@pytest.fixture(scope="module")
def found(packages: Path, model_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[dict[str, Any]]:
    script = packages / "try.mjs"
    script.write_text(SCRIPT)
    with running_hub(tmp_path_factory.mktemp("hub"), model_home) as hub:
        ran = subprocess.run(["node", script, hub.url], capture_output=True, text=True, timeout=120, check=False)
        assert ran.returncode == 0, ran.stderr
        yield json.loads(ran.stdout)


def test_ollama_for_javascript_finds_all_it_asks_for(found: dict[str, Any]):
    assert found["ollama"] == {"same": True, "count": 6}
    assert (found["generated"], found["vectors"], found["models"], found["shown"]) == (True, [384, 384], 2, "gguf")
    assert (found["missing"], found["json"]) == (404, "boolean")


def test_openai_for_javascript_finds_all_it_asks_for(found: dict[str, Any]):
    assert found["openai"] == {"same": True, "reason": "length"}
    assert (found["embedded"], found["responded"], found["refused"]) == (384, "incomplete", 400)
    assert found["events"] > 6
