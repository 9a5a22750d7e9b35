from __future__ import annotations

from pathlib import Path

import pytest

from partage.config import load_config
from partage.domain import Class
from partage.errors import ConfigError

DESIGN_EXAMPLE = """
devices:
  - gpu: 0
    reserve: 1GiB
models:
  llama3.2:          {context: 8192, slots: 4}
  nomic-embed-text:  {keep: pinned}
clients:
  chat:       {class: interactive, weight: 2, key_env: CHAT_KEY}
  documents:  {class: batch, container: rma-doc-processor, timeout: 120s}
alerts:
  gpu_memory: 85%
  notify: ["ntfys://example"]
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "partage.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_example_of_the_design_is_understood(tmp_path: Path):
    config = load_config(written(tmp_path, DESIGN_EXAMPLE), {"CHAT_KEY": "secret"})
    assert config.devices[0].reserve_bytes == 1 << 30
    assert config.models["llama3.2"].context_tokens == 8192
    assert config.models["nomic-embed-text"].keep == "pinned"
    chat = config.clients["chat"]
    assert (chat.client("chat").class_, chat.weight, chat.key) == (Class.INTERACTIVE, 2.0, "secret")
    assert config.clients["documents"].timeout_s == 120.0
    assert config.clients["documents"].container == "rma-doc-processor"
    assert config.alerts.gpu_memory_share == pytest.approx(0.85)
    assert config.alerts.notify == ("ntfys://example",)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("modles: {}", "modles"),
        ("models: {llama3.2: {contxt: 1}}", "models.llama3.2"),
        ("models: {llama3.2: {slots: many}}", "models.llama3.2"),
        ("hub: {keep_alive: soon}", "keep_alive"),
        ("alerts: {gpu_memory: much}", "gpu_memory"),
        ("leases: {over_limit: maybe}", "over_limit"),
        ("alerts: {gpu_memory: 90}", "gpu_memory"),
        ("devices: [{reserve: 1GiB}]", "devices[0]"),
        ("clients: {chat: {key_env: NOT_SET}}", "NOT_SET"),
        ("clients: {chat: {weight: 0}}", "clients.chat.weight"),
        ("hub: [", "not valid YAML"),
        ("- just a list", "a mapping of keys to values is needed, not a list"),
    ],
)
def test_an_error_names_the_file_and_the_key(tmp_path: Path, text: str, named: str):
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path, {})
    assert str(path) in caught.value.message
    assert named in caught.value.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hub:\n  prt: 1", ":2: hub.prt: there is no such setting; did you mean port?"),
        ("leases: {x: 1}", ":1: leases.x: there is no such setting; there are over_limit"),
        ("\nhub: {port: abc}", ":2: hub.port: a whole number is needed, not 'abc'"),
        ("hub: {port: 99999}", ":1: hub.port: a whole number, at most 65535, is needed, not 99999"),
        ("models:\n  a:b:\n    slots: -1", ":3: models.a:b.slots: a whole number, at least 1, is needed, not -1"),
        ("models: {a: {keep: pin}}", ":1: models.a.keep: 'pin' is none of pinned"),
        ("devices: [{gpu: 0, memory: [1]}]", ":1: devices[0].memory: a size such as 6GiB is needed, not a list"),
        ("devices: [{gpu: 0, reserve: 1 apple}]", ":1: devices[0].reserve: '1 apple' is not a size"),
        ("devices: {gpu: 0}", ":1: devices: a list is needed, not a mapping"),
        ("alerts: {gpu_memory: 200%}", ":1: alerts.gpu_memory: a share such as 90%, at most 100%, is needed, not 2.0"),
        ("clients: {a: {weight: 0}}", ":1: clients.a.weight: a number, more than 0, is needed, not 0"),
        ("remotes: {r: {kind: ollama}}", ":1: remotes.r: url is missing"),
        ("remotes: {r: {kind: ollama, url: nonsense}}", ":1: remotes.r.url: 'nonsense' must begin with http://"),
        (
            "remotes: {r: {kind: openai, url: 'https://me:s3cret@gpu.example.com'}}",
            ":1: remotes.r.url: user and password do not",
        ),
        (
            "devices: [{host: true, memory: 10}]",
            ":1: devices[0].memory: 10 would be bytes; give it a unit, as in 10GiB",
        ),
        ("hub: {max_body: '64'}", ":1: hub.max_body: 64 would be bytes; give it a unit, as in 64GiB"),
        ("clients: {a: {address: 10.0.0.999}}", ":1: clients.a.address: '10.0.0.999' is no IP address"),
        (
            "private_registries: ['http://r:5000']",
            ":1: private_registries[0]: 'http://r:5000' is no registry; write HOST or",
        ),
        (
            "registry: 'ftp://r.example.com'",
            ":1: registry: 'ftp://r.example.com' is no registry; write HOST or HOST:PORT, or",
        ),
    ],
)
def test_an_error_says_the_line_and_what_would_be_right(tmp_path: Path, text: str, message: str):
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path, {})
    assert caught.value.message.startswith(f"{path}{message}")


def test_ollamas_environment_is_honoured_and_wins_over_the_file(tmp_path: Path):
    environ = {
        "OLLAMA_HOST": "http://0.0.0.0:8080",
        "OLLAMA_KEEP_ALIVE": "-1",
        "OLLAMA_NUM_PARALLEL": "0",
        "OLLAMA_CONTEXT_LENGTH": '"8192"',
        "OLLAMA_ORIGINS": "https://a.example, https://b.example",
    }
    hub = load_config(written(tmp_path, "hub: {port: 1}"), environ).hub
    assert (hub.host, hub.port, hub.keep_alive_s, hub.slots) == ("0.0.0.0", 8080, -1.0, None)
    assert (hub.context_tokens, hub.origins) == (8192, ("https://a.example", "https://b.example"))


def test_a_wrong_environment_value_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match="OLLAMA_MAX_QUEUE"):
        load_config(written(tmp_path, ""), {"OLLAMA_MAX_QUEUE": "lots"})


def test_obsolete_variables_are_answered_with_what_replaces_them(tmp_path: Path):
    config = load_config(written(tmp_path, ""), {"OLLAMA_MAX_VRAM": "6000000000"})
    assert len(config.warnings) == 1
    assert "devices[].memory" in config.warnings[0]


def test_a_named_file_that_is_missing_is_an_error():
    with pytest.raises(ConfigError, match="does not exist"):
        load_config(Path("/nowhere/partage.yaml"), {})


def test_a_key_in_the_environment_makes_a_service_a_client_of_its_class(tmp_path: Path):
    clients = load_config(
        written(tmp_path, "clients: {rag: {weight: 3}}"), {"PARTAGE_KEY_RAG": "r", "PARTAGE_KEY_DOCUMENTS": "d"}
    ).clients
    assert (clients["rag"].key, clients["rag"].weight) == ("r", 3.0)
    assert (clients["documents"].key, clients["documents"].class_) == ("d", "batch")


def test_where_models_come_from_is_read_from_the_file_and_the_environment_goes_first(tmp_path: Path):
    file = written(tmp_path, "registry: registry.example.com\nollama_models: ~/theirs\nmodels_dir: /files\n")
    config = load_config(file, {})
    assert (config.registry, config.models_dir) == ("registry.example.com", Path("/files"))
    assert config.ollama_models == Path.home() / "theirs"
    assert config.transfer_streams == 4
    environ = {
        "PARTAGE_REGISTRY": "localhost:5000",
        "OLLAMA_MODELS": "/ours",
        "PARTAGE_MODELS_DIR": "/mine",
        "OLLAMA_MAX_TRANSFER_STREAMS": "8",
    }
    config = load_config(file, environ)
    assert (config.registry, config.transfer_streams) == ("localhost:5000", 8)
    assert (config.ollama_models, config.models_dir) == (Path("/ours"), Path("/mine"))
    with pytest.raises(ConfigError, match="from 1 to 64"):
        load_config(file, {"OLLAMA_MAX_TRANSFER_STREAMS": "many"})


def test_clients_that_nobody_could_tell_apart_are_refused(tmp_path: Path):
    twice = written(tmp_path, "clients: {a: {key: s3cret}, b: {class: batch, key: s3cret}}")
    with pytest.raises(ConfigError, match=r"clients\.b has the same key as clients\.a") as caught:
        load_config(twice, {})
    assert "s3cret" not in caught.value.message
    with pytest.raises(ConfigError, match="the same key"):
        load_config(written(tmp_path, "clients: {a: {key: s3cret}}"), {"PARTAGE_KEY_RAG": "s3cret"})


@pytest.mark.parametrize(
    "registry", ["registry.example.com", "localhost:5000", "http://10.0.0.7:5000/", "https://[::1]:5000"]
)
def test_a_registry_is_a_host_or_an_address_of_the_web(tmp_path: Path, registry: str):
    assert load_config(written(tmp_path, f"registry: '{registry}'"), {}).registry == registry


def test_a_size_of_nothing_and_a_size_in_bytes_are_taken(tmp_path: Path):
    hub = load_config(written(tmp_path, "hub: {prompt_cache: 0, max_body: 1048576}"), {}).hub
    assert (hub.prompt_cache_bytes, hub.max_body_bytes) == (0, 1 << 20)
