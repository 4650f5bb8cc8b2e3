"""Starts the embedded Triton and waits for it. The server itself comes from the wheel nvidia-pytriton."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import tritonclient.grpc as triton

from trygon.errors import TrygonError, UserError
from trygon.models.triton_config import ENCODER
from trygon.models.triton_repository import interpreter_path, write_repository
from trygon.ports import HOST, free_ports
from trygon_serving.catalogue import Weights
from trygon_serving.guard import HTTP, LOG, READY, region_prefix
from trygon_serving.libpython import library_folder
from trygon_serving.triton import CHANNEL

WHEEL = "nvidia-pytriton==0.7.0"

_START_TIMEOUT_S = 900
"""Models are loaded one after the other; a server that hangs is noticed by its guard long before."""
_HANGS_AFTER = 30
"""Seconds without any movement of what is loaded."""
_GRPC, _PORT = "grpc", "1"
"""A socket's name, to which Triton adds the port."""
_MOST_OF_A_PATH = 100
"""Linux takes 107 characters for a socket."""
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True)
class Embedded:
    """A running server: its addresses (`grpc` is a socket), its guard process and its folder (repository, backend,
    sockets, log). As a context it ends with its block."""

    grpc: str
    metrics: str
    folder: Path
    guard: subprocess.Popen[bytes]
    encoders: Sequence[str]
    """What it starts with."""

    @classmethod
    def start(cls, *models: Weights, hangs_after: int = _HANGS_AFTER) -> Self:
        """Start a server for some models; it is not ready yet. `UserError` where the wheel is missing.

        One that does nothing for so many seconds while it loads a model is started again.
        """
        wheel = _wheel_folder()
        libraries = _library_path(wheel)
        folder = Path(tempfile.mkdtemp(prefix="trygon-serve-"))
        try:
            if len(str(folder / _GRPC)) > _MOST_OF_A_PATH:
                raise UserError(
                    f"the path of temporary files is too long for a socket: {folder}; set TMPDIR to another"
                )
            encoders = _write_models(folder / "repository", models)
            _write_backend(wheel, folder / "backends" / "python")
            (metrics,) = free_ports(1)
            command = [
                str(wheel / "bin" / "tritonserver"),
                *("--model-repository", str(folder / "repository"), "--backend-directory", str(folder / "backends")),
                "--disable-auto-complete-config",  # it would load the model twice
                # The text encoder is loaded when names are asked for: it costs as much memory and time as the other.
                *("--model-control-mode", "explicit"),
                # One at a time: several that start together make each other stand still, and the server gives them up.
                *("--model-load-thread-count", "1"),
                *("--backend-config", f"python,shm-region-prefix-name={region_prefix(folder)}"),
                *(word for name in encoders for word in ("--load-model", name)),
                # Whoever may tell it what to load may run code: that is who may enter its folder, its owner alone. A
                # port would be open to each program of the machine, and to pages in a browser there.
                *("--http-address", f"unix:{folder / HTTP}", "--http-port", _PORT),
                *("--grpc-address", f"unix:{folder / _GRPC}", "--grpc-port", _PORT),
                *("--metrics-address", HOST, "--metrics-port", str(metrics)),
            ]
            guard = subprocess.Popen(
                [
                    *(sys.executable, "-m", "trygon_serving.guard"),
                    *(str(folder), str(hangs_after)),
                    *command,
                ],
                stdin=subprocess.PIPE,
                env={**os.environ, "LD_LIBRARY_PATH": libraries},
                start_new_session=True,
            )
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return cls(f"unix:{folder / _GRPC}:{_PORT}", f"http://{HOST}:{metrics}/metrics", folder, guard, encoders)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def wait_ready(self) -> None:
        """Block until the image encoders answer. `TrygonError` with Triton's own words where it does not start."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        with triton.InferenceServerClient(self.grpc, channel_args=CHANNEL) as client:
            while not all(_is_ready(client, name) for name in self.encoders):
                if self.guard.poll() is not None:
                    raise TrygonError(f"Triton did not start: {self._reason()}")
                if time.monotonic() > deadline:
                    raise TrygonError(f"Triton was not ready within {_START_TIMEOUT_S} s")
                time.sleep(0.2)
        assert self.guard.stdin
        try:
            self.guard.stdin.write(READY)
            self.guard.stdin.flush()
        except BrokenPipeError as error:
            raise TrygonError(f"Triton did not start: {self._reason()}") from error

    def require_guard(self) -> None:
        """`TrygonError` where the guard has ended: Triton went with it, and nobody starts it again."""
        code = self.guard.poll()
        if code is not None:
            raise TrygonError(
                f"the guard of Triton has ended (exit code {code}), and Triton with it: start the server again"
            )

    @property
    def repository(self) -> Path:
        """Where the models lie, and further ones can be put."""
        return self.folder / "repository"

    def stop(self) -> None:
        """End the server and all of its processes, and remove its folder."""
        assert self.guard.stdin
        with suppress(BrokenPipeError):  # it has ended by itself
            self.guard.stdin.close()
        self.guard.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _reason(self) -> str:
        try:
            lines = (self.folder / LOG).read_text(errors="replace").splitlines()
        except FileNotFoundError:  # the guard was ended, and has cleaned up
            lines = []
        problems = [line for line in lines if "Error" in line or line.startswith("E")]
        telling = [line for line in problems if ENCODER in line] or problems or lines
        return telling[-1].split("] ")[-1].strip('" ') if telling else f"exit code {self.guard.returncode}"


def _is_ready(client: triton.InferenceServerClient, name: str) -> bool:
    try:
        return bool(client.is_model_ready(name, client_timeout=2))
    except triton.InferenceServerException:
        return False


def _write_models(repository: Path, models: Sequence[Weights]) -> list[str]:
    """Their names there. Models of the same weights are one."""
    encoders: dict[str, str] = {}
    for weights in models:
        if weights.key not in encoders:
            suffix = weights.suffix if encoders else ""
            write_repository(repository, weights.ref, encoder=weights.encoder, suffix=suffix)
            encoders[weights.key] = ENCODER + suffix
    return list(encoders.values())


def _wheel_folder() -> Path:
    """The wheel's folder with the server. Its Python package is not imported: it wants numpy 1."""
    spec = importlib.util.find_spec("pytriton")
    for location in (spec and spec.submodule_search_locations) or []:
        if (Path(location) / "tritonserver/bin/tritonserver").is_file():
            return Path(location) / "tritonserver"
    command = f"{sys.executable} -m pip install --no-deps {WHEEL}"
    raise UserError(f"the Triton server is not installed: {command} (or name a running one with --triton HOST:PORT)")


def _library_path(wheel: Path) -> str:
    """LD_LIBRARY_PATH of the server: libpython for the backend's process, and the wheel's own libraries."""
    folders = [library_folder(), wheel.parent.parent / "nvidia_pytriton.libs"]
    return os.pathsep.join(str(folder) for folder in folders if folder)


def _write_backend(wheel: Path, target: Path) -> None:
    """The Python backend with the process for this interpreter, which looks for packages where this one does."""
    source, stub = wheel / "backends/python", wheel / "python_backend_stubs" / _PYTHON / "triton_python_backend_stub"
    if not stub.is_file():
        raise UserError(f"{WHEEL} has no Triton backend for Python {_PYTHON}; name a running server with --triton")
    target.mkdir(parents=True)
    for file in (source / "libtriton_python.so", stub):
        shutil.copy(file, target)
    # This module imports numpy before any model can say where it lies; the base installation may have none.
    name = "triton_python_backend_utils.py"
    paths = [str(path) for path in interpreter_path()]
    (target / name).write_text(f"import sys\nsys.path[:0] = {paths!r}\n{(source / name).read_text()}")
