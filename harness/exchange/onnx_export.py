"""A network unrolled over a fixed number of steps, as ONNX.

ONNX has no neurons: what is exported is arithmetic, the reference's step written out ``T``
times. Norms are folded, since it is the graph of NIR that is unrolled; what stands before the
first neuron runs once. How the file is to be used is in its metadata, ``metadata_props``, in the
words that files of NIR have for it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.contracts.errors import UnsupportedError
from harness.exchange.judging import neurons_of
from harness.exchange.nir_export import put, to_nir
from harness.exchange.nir_import import from_nir
from harness.exchange.tracing import Shape

NEEDS = ("onnx", "onnxscript")
READ_OUT = "the mean of logits over axis 0, the steps"


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written.

    Attributes:
        nodes: Operators in the file.
        file_bytes: Its size.
    """

    nodes: int
    file_bytes: int


class _Unrolled(nn.Module):
    """Logits alone, for one number of steps."""

    def __init__(self, network: nn.Module, timesteps: int) -> None:
        super().__init__()
        self.network = network
        self.timesteps = timesteps

    def forward(self, stimulus: Tensor) -> Tensor:
        logits: Tensor = self.network(stimulus, self.timesteps).logits
        return logits


def require() -> None:
    """Refuse if ONNX is not installed.

    Raises:
        UnsupportedError: Says how to install it.
    """
    if missing := [name for name in NEEDS if find_spec(name) is None]:
        raise UnsupportedError(f"{' and '.join(missing)} not installed; pip install -e '.[onnx]'")


def to_onnx(
    network: nn.Module,
    shape: Shape,
    path: Path,
    /,
    *,
    timesteps: int,
    samples: int = 1,
    frames: bool = False,
    shown: Mapping[str, Any] | None = None,
) -> Exported:
    """Write ``network``, called as ``harness.contracts.model.Network``, to ``path``.

    The file's input is ``stimulus``, ``[N, *shape]`` or, of frames, ``[T, N, *shape]``, for
    ``N = samples`` and no other; its output is ``logits [T, N, K]``. Its metadata have
    ``timesteps``, ``samples``, ``readout`` and what ``shown`` says: how samples are shown.

    Raises:
        UnsupportedError: If ONNX is not installed, or NIR has no node for a part of it.
        SpecError: If there is no such folder, or something else than a file of that name.
        StoreError: If the disk refuses.
    """
    require()
    import onnx

    dtype = next(network.parameters()).dtype
    plain = from_nir(to_nir(network, shape), neurons_of("reference"))
    unrolled = _Unrolled(plain, timesteps).eval()
    leading = (timesteps, samples) if frames else (samples,)
    with torch.no_grad():
        program: Any = torch.onnx.export(
            unrolled,
            (torch.zeros(*leading, *shape, dtype=dtype),),
            dynamo=True,
            verbose=False,
            input_names=["stimulus"],
            output_names=["logits"],
        )
    written = program.model_proto
    said = {"timesteps": timesteps, "samples": samples, "readout": READ_OUT, **(shown or {})}
    onnx.helper.set_model_props(written, {name: _text(value) for name, value in said.items()})
    onnx.checker.check_model(written)
    put(path, content := written.SerializeToString())
    return Exported(nodes=len(written.graph.node), file_bytes=len(content))


def _text(value: Any) -> str:
    """Return ``value`` as ONNX keeps it: words as they are, numbers as JSON."""
    return value if isinstance(value, str) else json.dumps(value)
