"""Foreign checkpoints into safetensors, once, in a process of its own. Run as `python -m models.convert FROM TO`.

The audit of the pickle comes first. Then a process that has no network (where the kernel lets an ordinary user take it
away), no environment, and limits on memory, processor time and file size reads the checkpoint as tensors only, and
writes them out. Nodes never see a pickle.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bithive.limits import BUNDLE_EXPANDED_BYTES_MAX, GIB, MIB
from models.errors import ConversionFailed

_ROOT = Path(__file__).resolve().parents[1]
_WALL_S = 900.0
_PROCESSOR_S = 600
_FRAMEWORK_BYTES = 8 * GIB
"""Address space of a process that has imported PyTorch."""
_KEYS = ("model", "state_dict", "model_state_dict", "network", "net", "weights")
_OUTPUT_MAX = 2_000


@dataclass(frozen=True, slots=True)
class Conversion:
    """How a checkpoint was converted.

    Attributes
    ----------
    tensors
        How many.
    offline
        Whether the process had no network.
    """

    tensors: int
    offline: bool


def convert(source: Path, target: Path) -> Conversion:
    """Convert a checkpoint whose pickles were audited.

    Raises
    ------
    ConversionFailed
        If it holds anything but tensors, or the process failed, was stopped by a limit, or took too long.
    """
    apart = _without_network()
    command = [*apart, sys.executable, "-s", "-m", "models.convert", str(source.absolute()), str(target.absolute())]
    with tempfile.TemporaryDirectory(prefix="bithive-convert-") as home:
        environment = {
            "HOME": home,
            "TMPDIR": home,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(_ROOT),
            "LC_ALL": "C.UTF-8",
        }
        try:
            ended = subprocess.run(
                command,
                env=environment,
                cwd=home,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_WALL_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            target.unlink(missing_ok=True)
            raise ConversionFailed("the conversion takes too long", timeout_s=_WALL_S) from None
    said = ended.stdout[-_OUTPUT_MAX:].decode("utf-8", "replace").strip().splitlines()
    if ended.returncode != 0 or not said or not target.is_file():
        target.unlink(missing_ok=True)
        raise ConversionFailed("the checkpoint holds more than tensors, or a limit stopped it", status=ended.returncode)
    return Conversion(int(json.loads(said[-1])["tensors"]), bool(apart))


def _without_network() -> list[str]:
    """What to put before a command so that it has no network; nothing where that is not permitted."""
    program = shutil.which("unshare")
    if program is None:
        return []
    command = [program, "--net", "--map-root-user"]
    tried = subprocess.run([*command, "true"], capture_output=True, check=False, timeout=30)
    return command if tried.returncode == 0 else []


def _limit(size_bytes: int) -> None:
    limits = {
        resource.RLIMIT_AS: _FRAMEWORK_BYTES + 6 * size_bytes,
        resource.RLIMIT_CPU: _PROCESSOR_S,
        resource.RLIMIT_FSIZE: 2 * size_bytes + 64 * MIB,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 256,
    }
    for kind, limit in limits.items():
        resource.setrlimit(kind, (limit, limit))


def _tensors(content: Any) -> dict[str, Any]:
    """The state of the network in a checkpoint: the checkpoint itself, or what it keeps under a usual name."""
    import torch

    found = content
    for key in _KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            found = content[key]
            break
    if not isinstance(found, Mapping) or not found:
        raise SystemExit("the checkpoint is no mapping of tensors")
    if not all(isinstance(name, str) and type(value) in _plain_types() for name, value in found.items()):
        raise SystemExit("the checkpoint holds more than tensors")
    prefix = "module." if all(name.startswith("module.") for name in found) else ""
    kinds = {
        torch.float64,
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int32,
        torch.uint8,
        torch.bool,
    }
    if not all(value.dtype in kinds and value.layout == torch.strided for value in found.values()):
        raise SystemExit("the checkpoint holds tensors of another kind")
    return {name.removeprefix(prefix): value.detach().clone().contiguous() for name, value in found.items()}


def _plain_types() -> tuple[type, ...]:
    import torch

    return torch.Tensor, torch.nn.Parameter


def main(source: Path, target: Path) -> None:
    """Read tensors, write tensors; in the child process."""
    if source.stat().st_size > BUNDLE_EXPANDED_BYTES_MAX:
        raise SystemExit("the checkpoint is too large")
    _limit(source.stat().st_size)
    import torch
    from safetensors.torch import save_file

    # The one place: limits are set, the pickle's imports were audited, and only tensors are made of it.
    content = torch.load(source, map_location="cpu", weights_only=True)  # noqa: TID251
    tensors = _tensors(content)
    save_file(tensors, target)
    sys.stdout.write(json.dumps({"tensors": len(tensors)}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
