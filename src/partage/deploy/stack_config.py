"""The small files beside the compose file: .env, one configuration per service, Prometheus, Grafana."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

from partage.deploy.plan import Plan, Row, alone, footprint_of, instead
from partage.quantities import format_bytes

_CLIENTS = (
    ("chat", "interactive"),
    ("rag", "interactive"),
    ("documents", "batch"),
    ("health", "interactive"),
    ("admin", "interactive"),
)


def hub_yaml(plan: Plan, *, remote_models: Sequence[str] = ()) -> str:
    """Settings that the plan was made with, and the plan itself as comments."""
    terms = plan.terms
    lines = [
        "# The hub's configuration. Everything in it is optional (docs/docker.md).",
        "#",
        *(f"# {line}" for line in plan_lines(plan)),
        "hub:",
        "  require_key: true                 # also from other containers",
        f"  context: {terms.context_tokens}",
        f"  slots: {terms.slots}",
        f"  kv_type: {terms.kv_type}",
        "clients:                            # who is more urgent; keys are the files in secrets/",
        *(f"  {name + ':':11}{{class: {class_}, key_file: /run/secrets/{name}_key}}" for name, class_ in _CLIENTS),
    ]
    lines += _model_lines(plan)
    if remote_models:
        lines += [
            "remotes:                            # adopted, not started: the hub queues for it and never loads beside it",
            "  ollama:",
            "    kind: ollama",
            "    url: http://ollama:11434        # the container's name on its network",
            f"    models: [{', '.join(remote_models)}]",
        ]
    return "\n".join(lines) + "\n"


def _model_lines(plan: Plan) -> list[str]:
    """Each model on its GPU, where there are several: in any order that they are asked for, all have room."""
    gpus = [device.id for device in plan.devices if device.kind == "cuda"]
    if len(gpus) < 2 or not plan.as_wished:
        return []
    lines = [
        "models:                             # GPUs as the container counts them; without this the hub chooses anew"
    ]
    for row in plan.rows:
        indices = [gpus.index(device) for device, _ in row.placement.shares if device in gpus]
        where = str(indices[0]) if len(indices) == 1 else f"[{', '.join(map(str, indices))}]" if indices else "none"
        lines.append(f"  {f'{row.wanted.name}: {{gpu: {where}}}':33} # {row.why}")
    return lines


def plan_lines(plan: Plan) -> list[str]:
    """What fits where, and why: the estimator's figures."""
    lines = ["What the estimator says (`partage plan`):"]
    together = plan.as_wished
    rows = plan.rows if together else [alone(plan, row.wanted) for row in plan.rows]
    lines += [f"  {_row_line(row, plan)}" for row in rows]
    if not together:
        lines.append("  Not all at once: they take turns, the hub swaps them. Together would fit:")
        return lines + [f"    {words}" for words in instead(plan) if "by itself" not in words]
    for device in plan.devices:
        if used := plan.used_bytes(device.id):
            budget = format_bytes(device.budget_bytes)
            lines.append(
                f"  {device.name}: {format_bytes(used)} of {budget} when all are loaded and every slot is in use"
            )
    return lines


def _row_line(row: Row, plan: Plan) -> str:
    names = {device.id: device.name for device in plan.devices}
    parts, settings = footprint_of(row), row.placement.settings
    on = " + ".join(names[device] for device, _ in row.placement.shares)
    rest = parts.total_bytes - parts.weights_bytes - parts.kv_bytes
    return (
        f"{row.wanted.name}{f' ({row.wanted.quantisation})' if row.wanted.quantisation else ''}"
        f" on {on if row.fits else 'nothing here'}: {format_bytes(parts.total_bytes)}"
        f" = weights {format_bytes(parts.weights_bytes)}"
        f" + KV {format_bytes(parts.kv_bytes)} ({settings.slots} x {settings.context_tokens} tokens)"
        f" + {format_bytes(rest)} of buffers and overhead"
    )


def client_yaml(name: str) -> str:
    return (
        f"# The key with which this service calls the hub.\nclients:\n  {name}: {{key_file: /run/secrets/{name}_key}}\n"
    )


def dotenv(
    *,
    image: str,
    gpus: Sequence[tuple[str, str, str]],
    mps_memory: str = "",
    ollama: bool = False,
    observability: bool = False,
    docker_gid: int | None = None,
) -> str:
    """`gpus`: variable, value, comment."""
    lines = [
        "# Read by Compose for ${...} in compose.yaml; the containers do not see it.",
        f"PARTAGE_IMAGE={image}",
        "PARTAGE_PORT=11434",
    ]
    for variable, value, comment in gpus:
        lines += [f"# {comment}", f"{variable}={value}"]
    if mps_memory:
        lines += [
            "# Of GPU 0, for each engine of the hub; enforced by the MPS daemon.",
            f"PARTAGE_MPS_MEMORY={mps_memory}",
            "PARTAGE_MPS_THREADS=100",
        ]
    if docker_gid is not None:
        lines += [
            "# The group that may use Docker's socket: stat -c %g /var/run/docker.sock",
            f"DOCKER_GID={docker_gid}",
        ]
    if ollama:
        lines += ["# The network that your Ollama container is on: docker network ls", "OLLAMA_NETWORK=ollama_default"]
    if observability:
        lines += ["PROMETHEUS_PORT=9090", "GRAFANA_PORT=3000"]
    return "\n".join(lines) + "\n"


PROMETHEUS_YML = """\
global:
  scrape_interval: 15s
rule_files: [/etc/prometheus/alerts.yml]
scrape_configs:
  - job_name: partage
    authorization:
      credentials_file: /run/secrets/admin_key
    static_configs:
      - targets: ["hub:11434"]
"""


def shipped(name: str) -> str:
    """What the room watch/ ships for Prometheus and Grafana."""
    return (resources.files("partage") / "watch" / "shipped" / name).read_text(encoding="utf-8")


DATASOURCE_YML = """\
apiVersion: 1
datasources:
  - name: Prometheus
    type: prometheus
    url: http://prometheus:9090
    isDefault: true
"""

DASHBOARDS_YML = """\
apiVersion: 1
providers:
  - name: partage
    type: file
    options:
      path: /etc/grafana/provisioning/dashboards
"""
