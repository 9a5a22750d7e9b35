"""As a program: prints the devices that the built-in llama.cpp can compute on, as a JSON list of "NAME: description"."""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any


def main() -> None:
    xllamacpp: Any = importlib.import_module("xllamacpp")
    found = [f"{one['name']}: {one['description']}" for one in xllamacpp.get_device_info()]
    json.dump([one for one in found if not one.startswith("CPU")], sys.stdout)


if __name__ == "__main__":
    main()
