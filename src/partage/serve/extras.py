"""The extras of the package: which are installed, and what to say where one is missing."""

from __future__ import annotations

from importlib.util import find_spec

from partage.errors import ConfigError

BRINGS = {
    "documents": ("fastapi", "pypdfium2", "rapidocr"),
    "rag": ("fastapi", "lancedb"),
    "dashboard": ("nicegui", "textual"),
}
"""Extra, called as the service that needs it -> modules that come with it."""


def is_installed(extra: str) -> bool:
    return all(map(find_spec, BRINGS[extra]))


def how_to_install(*extras: str) -> str:
    return f"pip install 'partage[{','.join(extras)}]'"


def require(what: str, *extras: str) -> None:
    """Before the imports of what they bring. Raises ConfigError saying how to install them."""
    missing = [module for extra in extras for module in BRINGS[extra] if find_spec(module) is None]
    if missing:
        raise ConfigError(f"{what} needs {missing[0]}, which is not installed: {how_to_install(*extras)}")
