"""Rules on who can reach an engine that knows no passwords."""

from __future__ import annotations

import re
from collections.abc import Iterator

from partage.deploy.compose_file import Service, ports_of
from partage.deploy.engines import OLLAMA
from partage.deploy.findings import Fix, Flaw, rule
from partage.deploy.source import Edit
from partage.deploy.subjects import Environment
from partage.deploy.yaml_tree import Scalar, items_of

_PORT = re.compile(r":(\d+)/?$")
_LOOPBACK = re.compile(r"(?:https?://)?(?:127\.|localhost\b|\[?::1)")


@rule(
    "PG060",
    "ollama-open-to-the-network",
    on=Service,
    cure='publish it on loopback, as in "127.0.0.1:11434:11434", or put something with keys in front',
    source="Docker docs, Packet filtering and firewalls (published ports bypass ufw); ollama#9642; llm-host-guard",
    level="warning",
    fixable=True,
    unsafe=True,
)
def ollama_open_to_the_network(service: Service) -> Iterator[Flaw]:
    """Ollama's port published on every interface: whoever reaches the machine may use and delete its models.

    Ollama has no authentication. Docker writes its own firewall rules, which come before those of ufw: a port that ufw
    closes is open all the same. Other containers need no published port; they reach `http://ollama:11434` on the
    compose network. The fix is not a safe one: somebody may use the port from elsewhere.
    """
    host = service.variables.get("OLLAMA_HOST")
    if not service.calls_itself_ollama or (host and _LOOPBACK.match(host.value)):  # heard inside the container only
        return
    nodes = {item.place: item for item in items_of(service.get("ports"))}
    own = _PORT.search(host.value) if host else None
    heard = own[1] if own else "11434"
    for port in ports_of(service):
        if port.host_ip in ("", "0.0.0.0", "::") and port.published and port.target == heard:  # noqa: S104 compared
            yield Flaw(
                port.place,
                f"port {port.target} is published on every interface, without authentication",
                _on_loopback(nodes[port.place], port.host_ip),
            )


def _on_loopback(node: object, host_ip: str) -> Fix | None:
    if not isinstance(node, Scalar) or host_ip:
        return None
    start = node.place.start + (0 if node.plain else 1)
    return Fix((Edit(start, start, "127.0.0.1:"),), safe=False)


@rule(
    "PG061",
    "ollama-any-origin",
    on=Environment,
    cure="name the origins that need it, as in OLLAMA_ORIGINS=http://localhost:3000",
    source="Ollama docs, FAQ: additional web origins; llm-host-guard",
    level="warning",
)
def ollama_any_origin(environment: Environment) -> Iterator[Flaw]:
    """OLLAMA_ORIGINS=*: any web page that somebody opens in a browser may use this Ollama.

    The variable is for pages that call Ollama from the browser; a server such as Open WebUI does not need it.
    """
    for variable in environment.variables:
        service = environment.service
        reader = environment.server is OLLAMA or (service is not None and service.calls_itself_ollama)
        if variable.name != "OLLAMA_ORIGINS" or not (reader or environment.is_dotenv):
            continue
        if "*" in [part.strip() for part in variable.value.strip("\"'").split(",")]:
            yield Flaw(variable.place, "OLLAMA_ORIGINS=* lets every web page call this Ollama")


RULES = (ollama_open_to_the_network, ollama_any_origin)
