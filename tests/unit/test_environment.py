from __future__ import annotations

from pathlib import Path

import pytest

from partage.config import home_dir, load_config
from partage.environment import HONOURED, OBSOLETE, read_dotenv, read_ollama, visible_gpus

OLLAMA_READS = [
    "HOST", "MODELS", "KEEP_ALIVE", "LOAD_TIMEOUT", "MAX_LOADED_MODELS", "NUM_PARALLEL", "MAX_QUEUE",
    "CONTEXT_LENGTH", "GPU_OVERHEAD", "SCHED_SPREAD", "FLASH_ATTENTION", "KV_CACHE_TYPE", "LLM_LIBRARY",
    "LIBRARY_PATH", "ORIGINS", "DEBUG", "DEBUG_LOG_REQUESTS", "GO_TEMPLATE", "NOHISTORY", "NOPRUNE", "NO_CLOUD",
    "REMOTES", "CLOUD_BASE_URL", "AUTH", "MAX_TRANSFER_STREAMS", "EDITOR", "VULKAN", "IGPU_ENABLE",
    "LLAMA_CPP_COMPAT", "EXPERIMENT", "MAX_VRAM", "TMPDIR", "NEW_ENGINE", "MULTIUSER_CACHE", "INTEL_GPU",
]  # fmt: skip
VALUES = {"HOST": "0.0.0.0:1", "KEEP_ALIVE": "10m", "LOAD_TIMEOUT": "1m", "KV_CACHE_TYPE": "q8_0"}


@pytest.mark.parametrize("name", OLLAMA_READS)
def test_every_variable_that_ollama_reads_is_known(name: str):
    variable = f"OLLAMA_{name}"
    settings = read_ollama({variable: VALUES.get(name, "1")})
    assert not any("not known" in warning for warning in settings.warnings)
    assert bool(settings.hub) == (variable in HONOURED)
    assert bool(settings.warnings) == (variable in OBSOLETE)


def test_a_variable_that_nobody_knows_is_named():
    (warning,) = read_ollama({"OLLAMA_KEEPALIVE": "1h"}).warnings
    assert warning.startswith("OLLAMA_KEEPALIVE is not known")


@pytest.mark.parametrize(
    ("text", "visible"),
    [(None, None), ("", ()), ("-1", ()), ("0,2", ("0", "2")), ("GPU-8f, 1", ("GPU-8f", "1")), ("1,-1,2", ("1",))],
)
def test_cuda_visible_devices_says_which_gpus_there_are(text: str | None, visible: tuple[str, ...] | None):
    assert visible_gpus({} if text is None else {"CUDA_VISIBLE_DEVICES": text}) == visible


def test_a_dotenv_file_is_read_as_shells_and_compose_read_it(tmp_path: Path):
    file = tmp_path / ".env"
    file.write_text("""\
# a comment
OLLAMA_KEEP_ALIVE=10m   # why not
export OLLAMA_MAX_QUEUE = 7
QUOTED="two words # no comment"
SINGLE='$kept'
EMPTY=
no assignment
""")
    assert read_dotenv(file) == {
        "OLLAMA_KEEP_ALIVE": "10m",
        "OLLAMA_MAX_QUEUE": "7",
        "QUOTED": "two words # no comment",
        "SINGLE": "$kept",
        "EMPTY": "",
    }
    assert read_dotenv(tmp_path / "missing") == {}


def test_the_process_wins_over_the_dotenv_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / ".env").write_text(f"OLLAMA_MAX_QUEUE=7\nOLLAMA_KEEP_ALIVE=1h\nPARTAGE_HOME={tmp_path}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PARTAGE_HOME", raising=False)
    monkeypatch.delenv("OLLAMA_KEEP_ALIVE", raising=False)
    monkeypatch.setenv("OLLAMA_MAX_QUEUE", "9")
    hub = load_config().hub
    assert (hub.max_queue, hub.keep_alive_s) == (9, 3600.0)
    assert home_dir() == tmp_path
