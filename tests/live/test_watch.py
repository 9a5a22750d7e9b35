"""The watch as an operator has it: metrics, alerts and doctor of a real hub, and its eyes put out one by one."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
from fake_docker import FakeDocker
from hub_process import HubProcess, running_hub
from prometheus_client.parser import text_string_to_metric_families

pytestmark = pytest.mark.live

EMBEDDING_MODEL = "all-minilm:22m"
RULES = Path(__file__).parents[2] / "src" / "partage" / "watch" / "shipped" / "partage.rules.yml"


def test_promtool_accepts_the_shipped_alert_rules():
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool on the PATH: apt install prometheus")
    checked = subprocess.run(
        [promtool, "check", "rules", str(RULES)], check=False, capture_output=True, text=True, timeout=60
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{RULES.read_text(encoding='utf-8').count('- alert:')} rules found" in checked.stdout


def embed(hub: HubProcess) -> None:
    answer = httpx.post(f"{hub.url}/api/embed", json={"model": EMBEDDING_MODEL, "input": "hello"}, timeout=60)
    assert answer.status_code == 200, answer.text


def metrics(hub: HubProcess) -> dict[str, float]:
    text = httpx.get(f"{hub.url}/metrics").text
    return {
        sample.name + "".join(f"|{value}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def doctor(hub: HubProcess, home: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "partage", "doctor", "--url", hub.url, *options],
        env={**os.environ, "PARTAGE_HOME": str(home)},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


@contextmanager
def webhook() -> Generator[tuple[str, list[dict[str, object]], threading.Event]]:
    """(address, what it got, set with the first message)."""
    got: list[dict[str, object]] = []
    told = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()
            told.set()

        def log_message(self, format: str, *args: object):  # noqa: A002 http.server's name
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/alerts", got, told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_hub_is_counted_watched_and_examined(tmp_path: Path, model_home: Path):
    home = tmp_path / "home"
    with webhook() as (address, got, told), webhook() as (collector, traces, traced):
        # A disk is never more than wholly free: this alert is certain.
        config = f"hub: {{traces: '{collector}'}}\nalerts: {{webhook: '{address}', disk_free: 100%}}\nclients: {{me: {{key: planted-key-1, class: batch}}}}\n"
        with running_hub(home, model_home, config=config) as hub:
            embed(hub)
            seen = metrics(hub)
            assert seen[f"partage_requests_total|other|{EMBEDDING_MODEL}|done"] == 1
            assert seen[f"partage_loads_total|{EMBEDDING_MODEL}|ready"] == 1
            assert seen[f"partage_engine_ledger_bytes|{EMBEDDING_MODEL}|host"] > 0
            assert seen["process_resident_memory_bytes"] > 0

            assert told.wait(40)
            assert got[0]["rule"] == "disk"
            standing = httpx.get(f"{hub.url}/admin/alerts").json()["standing"]
            assert [one["rule"] for one in standing] == ["disk"]
            assert httpx.get(f"{hub.url}/admin/machine").json()["host"]["total_bytes"] > 0

            assert traced.wait(20)
            assert "resourceSpans" in traces[0]

            bundle = tmp_path / "bundle.tar.gz"
            examined = doctor(hub, home, "--json", "--bundle", str(bundle))
            found = {one["check"]: one for one in json.loads(examined.stdout)["findings"]}
            assert "free" in found["alerts"]["found"]
            assert examined.returncode in (1, 2), "a warning at least; this machine may have faults of its own"
            assert bundle.stat().st_size > 1000
        rows = [path for path in home.iterdir() if path.name == "history.sqlite"]
        assert rows, "the history outlives the hub"


async def test_putting_out_its_eyes_changes_nothing_for_a_client(tmp_path: Path, model_home: Path):
    """Docker dies, the notifier refuses, a scraper leaves in mid-answer, the history turns to rubbish."""
    home = tmp_path / "home"
    with tempfile.TemporaryDirectory(prefix="partage-") as directory, socket.create_server(("127.0.0.1", 0)) as dead:
        path, docker = Path(directory, "docker.sock"), FakeDocker()
        docker.add("web", "127.0.0.1", client="web", **{"class": "interactive"})
        deaf = f"http://127.0.0.1:{dead.getsockname()[1]}/"  # takes connections and never answers
        config = f"hub: {{docker: '{path}'}}\nalerts: {{webhook: '{deaf}', disk_free: 100%}}\n"
        async with docker.serving(path):
            hub_context = running_hub(home, model_home, config=config)
            hub = await asyncio.to_thread(hub_context.__enter__)
            try:
                await asyncio.to_thread(embed, hub)
                clients = [one["name"] for one in hub.status()["clients"]]
                assert clients == ["web"], "known by its container's label, by the address it calls from"
                docker.hang_up()
                await asyncio.to_thread(embed, hub)
                await asyncio.to_thread(_break_off_a_scrape, hub)
                (home / "history.sqlite").write_bytes(b"rubbish" * 1000)
                for _ in range(5):
                    await asyncio.to_thread(embed, hub)
                assert metrics(hub)[f"partage_requests_total|web|{EMBEDDING_MODEL}|done"] == 7
                assert await asyncio.to_thread(hub.stop) == 0
            finally:
                hub_context.__exit__(None, None, None)


def _break_off_a_scrape(hub: HubProcess) -> None:
    host, port = hub.url.removeprefix("http://").split(":")
    for _ in range(20):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
