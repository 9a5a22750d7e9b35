"""The text of the generated compose file, service by service. Written by hand, not dumped: the comments are half of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import indent

PROMETHEUS_IMAGE = "prom/prometheus:v3.5.0"
GRAFANA_IMAGE = "grafana/grafana:12.1.0"
MPS_IMAGE = "nvidia/cuda:12.6.3-base-ubuntu24.04"

HEADER = """\
# Written by `partage compose {words}`; `partage compose --check` tells whether this file is still what it would write.
# {summary}
#
# Nothing here is reachable from other machines: every port is published on 127.0.0.1, and the hub wants a key besides
# (secrets/). Containers reach each other by service name without any published port.

x-service: &service
  image: ${{PARTAGE_IMAGE:?build one first, see docs/docker.md}}
  init: true                        # reaps what engines leave behind, passes signals on
  restart: unless-stopped
  stop_grace_period: 30s            # running answers are finished first
  read_only: true                   # what is written goes to the volumes below, or is lost
  tmpfs: [/tmp]
  cap_drop: [ALL]
  security_opt: ["no-new-privileges:true"]
  logging:
    driver: json-file
    options: {{max-size: 10m, max-file: "3"}}

"""

_HUB = """\
hub:
  <<: *service
  command: [hub, --host, 0.0.0.0, --port, "11434"]
{extra}  ports:
    - "127.0.0.1:${{PARTAGE_PORT:-11434}}:11434"
  environment:
{environment}  secrets: [health_key, documents_key, rag_key, chat_key, admin_key]
  volumes:
    - models:/data
    - ./config/hub.yaml:/etc/partage.yaml:ro
{volumes}  healthcheck:
    # Asks a model that is loaded for one token (or one vector), as a client would: a page that is merely served says
    # nothing about a scheduler that hangs or a GPU that is gone. Loads nothing, and keeps nothing loaded.
    test: [CMD, partage, health, hub]
    interval: 30s
    timeout: 25s
    start_period: 60s
    retries: 3
{gpu}"""

_GPU = """\
deploy:
  resources:
    reservations:
      devices:
        # Exposes GPUs to this container. It reserves nothing, in spite of the key above: other containers with the same
        # GPU see the same memory. Sharing is the hub's work, so no other service here is given a GPU.
        - driver: nvidia                        # by the NVIDIA Container Toolkit; no `runtime: nvidia` is needed
          device_ids: [{ids}]   # by UUID (.env): an index may change with a reboot
          capabilities: [gpu, compute, utility] # compute: CUDA; utility: NVML, how much memory is free
"""

_DOCUMENTS = """\
documents:
  <<: *service
  command: [documents, --host, 0.0.0.0, --port, "8101"]
  depends_on: {hub: {condition: service_healthy}}
  ports:
    - "127.0.0.1:${PARTAGE_DOCUMENTS_PORT:-8101}:8101"
  environment:
    PARTAGE_HOME: /data
    PARTAGE_CONFIG: /etc/partage.yaml
    PARTAGE_HUB_URL: http://hub:11434           # needs no GPU: it asks the hub
  labels: {partage.client: documents, partage.class: batch}
  secrets: [documents_key]
  volumes:
    - documents:/data
    - ./config/documents.yaml:/etc/partage.yaml:ro
  mem_limit: 3g                                 # host RAM, for page images; not GPU memory
  healthcheck:
    test: [CMD, partage, health, documents]
    interval: 30s
    timeout: 10s
    start_period: 60s
    retries: 3
"""

_RAG = """\
rag:
  <<: *service
  command: [rag, --host, 0.0.0.0, --port, "8102"]
  depends_on: {hub: {condition: service_healthy}, documents: {condition: service_started}}
  ports:
    - "127.0.0.1:${PARTAGE_RAG_PORT:-8102}:8102"
  environment:
    PARTAGE_HOME: /data
    PARTAGE_CONFIG: /etc/partage.yaml
    PARTAGE_HUB_URL: http://hub:11434
    PARTAGE_DOCUMENTS_URL: http://documents:8101
  labels: {partage.client: rag, partage.class: interactive}
  secrets: [rag_key]
  volumes:
    - rag:/data
    - ./config/rag.yaml:/etc/partage.yaml:ro
  mem_limit: 2g                                 # host RAM; not GPU memory
  healthcheck:
    test: [CMD, partage, health, rag]
    interval: 30s
    timeout: 10s
    start_period: 60s
    retries: 3
"""

_DASHBOARD = """\
dashboard:
  <<: *service
  profiles: [dashboard]                         # docker compose --profile dashboard up -d
  command: [dashboard, --host, 0.0.0.0, --port, "11435"]
  depends_on: {hub: {condition: service_healthy}}
  ports:
    - "127.0.0.1:${PARTAGE_DASHBOARD_PORT:-11435}:11435"
  environment:
    PARTAGE_HOME: /data
    PARTAGE_CONFIG: /etc/partage.yaml
    PARTAGE_HUB_URL: http://hub:11434
  secrets: [admin_key]
  volumes:
    - dashboard:/data
    - ./config/dashboard.yaml:/etc/partage.yaml:ro
  mem_limit: 512m                               # host RAM; not GPU memory
  healthcheck:
    test: [CMD, partage, health, dashboard]
    interval: 30s
    timeout: 10s
    start_period: 60s
    retries: 3
"""

_MPS = f"""\
mps:
  # The daemon lets several processes compute on a GPU at the same time, and enforces the limits that its clients carry.
  # It must run as the same user as its clients, and be started before them.
  image: {MPS_IMAGE}
  command: [nvidia-cuda-mps-control, -f]
  user: "10001:10001"
  restart: unless-stopped
  ipc: shareable                                # clients join this container's IPC namespace
  read_only: true
  tmpfs: [/tmp]
  cap_drop: [ALL]
  security_opt: ["no-new-privileges:true"]
  environment:
    CUDA_MPS_PIPE_DIRECTORY: /mps/pipe
    CUDA_MPS_LOG_DIRECTORY: /mps/log
  volumes: [mps:/mps]
  healthcheck:
    test: [CMD-SHELL, "echo get_server_list | nvidia-cuda-mps-control"]
    interval: 30s
    timeout: 5s
    retries: 3
  logging:
    driver: json-file
    options: {{max-size: 10m, max-file: "3"}}
"""

_JOB = """\
gpu-job:
  # A CUDA program of yours beside the hub: put its image and command here. `docker compose --profile job up gpu-job`.
  profiles: [job]
  image: ${GPU_JOB_IMAGE:-example.com/your/cuda-job:1}
  depends_on: {mps: {condition: service_healthy}}
  ipc: service:mps
  environment:
    CUDA_MPS_PIPE_DIRECTORY: /mps/pipe
    CUDA_MPS_PINNED_DEVICE_MEM_LIMIT: ${GPU_JOB_MEMORY:-0=2G}   # GPU 0: at most 2 GiB; more is refused by the driver
    CUDA_MPS_ACTIVE_THREAD_PERCENTAGE: ${GPU_JOB_THREADS:-30}   # of the GPU's multiprocessors
  volumes: [mps:/mps]
"""

_OBSERVABILITY = f"""\
prometheus:
  image: {PROMETHEUS_IMAGE}
  command: [--config.file=/etc/prometheus/prometheus.yml, --storage.tsdb.retention.time=15d]
  restart: unless-stopped
  read_only: true
  cap_drop: [ALL]
  security_opt: ["no-new-privileges:true"]
  ports:
    - "127.0.0.1:${{PROMETHEUS_PORT:-9090}}:9090"
  secrets: [admin_key]                          # the bearer token with which the hub's /metrics is read
  volumes:
    - prometheus:/prometheus
    - ./config/prometheus.yml:/etc/prometheus/prometheus.yml:ro
    - ./config/alerts.yml:/etc/prometheus/alerts.yml:ro
  mem_limit: 1g                                 # host RAM
  logging:
    driver: json-file
    options: {{max-size: 10m, max-file: "3"}}

grafana:
  image: {GRAFANA_IMAGE}
  restart: unless-stopped
  read_only: true
  tmpfs: [/tmp]
  cap_drop: [ALL]
  security_opt: ["no-new-privileges:true"]
  depends_on: [prometheus]
  ports:
    - "127.0.0.1:${{GRAFANA_PORT:-3000}}:3000"
  environment:
    GF_SECURITY_ADMIN_PASSWORD__FILE: /run/secrets/grafana_password
    GF_ANALYTICS_REPORTING_ENABLED: "false"
  secrets: [grafana_password]
  volumes:
    - grafana:/var/lib/grafana
    - ./config/grafana:/etc/grafana/provisioning:ro
  mem_limit: 512m                               # host RAM
  logging:
    driver: json-file
    options: {{max-size: 10m, max-file: "3"}}
"""


@dataclass(frozen=True, slots=True)
class Parts:
    """What goes into one compose file."""

    words: str
    summary: str
    gpu_variables: Sequence[str] = ()
    """The .env variables with the UUIDs of the hub's GPUs; none: the hub computes on the CPU, or elsewhere."""
    docker: bool = False
    """The hub may ask Docker who calls it."""
    mps: bool = False
    ollama: bool = False
    observability: bool = False


def compose_text(parts: Parts) -> str:
    services = [_hub(parts), _DOCUMENTS, _RAG, _DASHBOARD]
    if parts.mps:
        services += [_with_gpu(_MPS, parts), _with_gpu(_JOB, parts)]
    if parts.observability:
        services.append(_OBSERVABILITY)
    secrets = ["health_key", "documents_key", "rag_key", "chat_key", "admin_key"]
    volumes = ["models", "documents", "rag", "dashboard"]
    if parts.mps:
        volumes.append("mps")
    if parts.observability:
        secrets.append("grafana_password")
        volumes += ["prometheus", "grafana"]
    text = HEADER.format(words=parts.words, summary=parts.summary)
    text += "services:\n" + "\n".join(indent(service, "  ") for service in services)
    text += "\nsecrets:                              # files that only you can reach; `partage compose` made them\n"
    text += "".join(f"  {name}: {{file: ./secrets/{name}}}\n" for name in secrets)
    text += "\nvolumes:\n" + "".join(f"  {name}: {{}}\n" for name in volumes)
    if parts.ollama:
        text += "\nnetworks:\n  default: {}\n  ollama:\n    external: true                      # the network that your Ollama container is on\n"
        text += "    name: ${OLLAMA_NETWORK:?the network of your Ollama container, see `docker network ls`}\n"
    return text


def _hub(parts: Parts) -> str:
    environment = ["PARTAGE_HOME: /data", "PARTAGE_CONFIG: /etc/partage.yaml"]
    extra, volumes = "", ""
    if parts.mps:
        extra = "  depends_on: {mps: {condition: service_healthy}}\n  ipc: service:mps\n"
        environment += [
            "CUDA_MPS_PIPE_DIRECTORY: /mps/pipe",
            "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT: ${PARTAGE_MPS_MEMORY:?GPU memory of the hub's engines, each, as in 0=6G}",
            "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE: ${PARTAGE_MPS_THREADS:-100}   # of the GPU's multiprocessors",
        ]
        volumes += "    - mps:/mps\n"
    if parts.docker:
        # The group, not root: the container's user stays who it is.
        extra += '  group_add: ["${DOCKER_GID:?the group of the socket: stat -c %g /var/run/docker.sock}"]\n'
        volumes += "    # Who calls is known by container and label, and containers that are killed are reported. Mind: whoever\n"
        volumes += "    # breaks into the hub holds the host. `:ro` does not change that; the hub itself only asks.\n"
        volumes += "    - /var/run/docker.sock:/var/run/docker.sock:ro\n"
    if parts.ollama:
        extra += "  networks: [default, ollama]         # no GPU here: the Ollama containers keep theirs\n"
    gpu = indent(_gpu(parts), "  ") if parts.gpu_variables else ""
    lines = "".join(f"    {line}\n" for line in environment)
    return _HUB.format(extra=extra, environment=lines, volumes=volumes, gpu=gpu)


def _gpu(parts: Parts) -> str:
    ids = ", ".join(f'"${{{name}:?a UUID from nvidia-smi -L}}"' for name in parts.gpu_variables)
    return _GPU.format(ids=ids)


def _with_gpu(service: str, parts: Parts) -> str:
    return service + indent(_gpu(parts), "  ")
