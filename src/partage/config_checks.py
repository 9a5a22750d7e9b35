"""What no type says of a setting: addresses that must be some, keys that must differ, sizes that lack their unit."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from partage.config_errors import Place, WrongSetting
from partage.config_sections import ClientConfig, DeviceConfig, RemoteConfig
from partage.errors import ConfigError
from partage.quantities import LEAST_BYTES

_HOST = re.compile(r"([A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:]+\])(:\d{1,5})?\Z")


def check_unit(place: Place, value: object) -> None:
    """Raises WrongSetting."""
    number = int(value) if isinstance(value, str) and value.strip().isdecimal() else value
    if isinstance(number, int) and 0 < number < LEAST_BYTES:
        raise WrongSetting(place, f"{number} would be bytes; give it a unit, as in {number}GiB")


def check_device(place: Place, device: DeviceConfig) -> None:
    """Raises WrongSetting."""
    if device.host == (device.gpu is not None):
        raise WrongSetting(place, "say either `gpu: 0` (or a UUID) or `host: true`")


def check_client(place: Place, client: ClientConfig) -> None:
    """Raises WrongSetting."""
    try:
        ipaddress.ip_address(client.address or "::1")
    except ValueError:
        raise WrongSetting((*place, "address"), f"{client.address!r} is no IP address, as in 10.0.0.7") from None


def check_remote(place: Place, remote: RemoteConfig) -> None:
    """Raises WrongSetting."""
    if not remote.url.startswith(("http://", "https://")):
        raise WrongSetting((*place, "url"), f"{remote.url!r} must begin with http:// or https://")
    if "@" in urlsplit(remote.url).netloc:  # it is a model's digest and source, in logs and errors
        raise WrongSetting((*place, "url"), "user and password do not belong here, every client sees it; set key")


def check_registry(place: Place, text: str, *, url: bool = False) -> None:
    """HOST or HOST:PORT, and with `url` an http(s) URL too. Raises WrongSetting."""
    scheme, separator, rest = text.partition("://")
    host = rest.rstrip("/") if url and separator and scheme in {"http", "https"} else text
    if not _HOST.match(host):
        raise WrongSetting(
            place, f"{text!r} is no registry; write HOST or HOST:PORT{', or https://HOST' if url else ''}"
        )


def check_distinct(clients: Mapping[str, ClientConfig]) -> None:
    """Raises ConfigError where two could not be told from each other."""
    seen: dict[tuple[str, str], str] = {}
    for name, client in clients.items():
        for how, value in (("key", client.key), ("address", client.address), ("container", client.container)):
            if value and (other := seen.setdefault((how, value), name)) != name:
                raise ConfigError(f"clients.{name} has the same {how} as clients.{other}: nobody could tell them apart")
