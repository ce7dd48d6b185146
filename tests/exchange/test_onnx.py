"""An unrolled network in ONNX decides as the network does."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.contracts.errors import UnsupportedError
from harness.exchange import onnx_export
from harness.exchange.onnx_export import to_onnx
from tests.exchange.networks import images, lively

NEEDED = (*onnx_export.NEEDS, "onnxruntime")
MISSING = [name for name in NEEDED if find_spec(name) is None]
needs_onnx = pytest.mark.skipif(
    bool(MISSING), reason=f"{', '.join(MISSING)} not installed; the extra onnx has them"
)
# torch's exporter warns of its own use of what it has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@needs_onnx
@pytest.mark.parametrize(("name", "frames"), [("digits_convnet", False), ("events_convnet", True)])
def test_onnxruntime_answers_the_same(name: str, frames: bool, tmp_path: Path) -> None:  # noqa: FBT001  pytest gives it by name
    import onnxruntime

    network, shape = lively(name, dtype=torch.float32)
    path, steps, samples = tmp_path / "network.onnx", 3, 5
    written = to_onnx(network, shape, path, timesteps=steps, samples=samples, frames=frames)
    assert written.nodes > steps
    assert written.file_bytes == path.stat().st_size
    leading = (steps, samples) if frames else (samples,)
    stimulus = images(shape, *leading, dtype=torch.float32)
    session = onnxruntime.InferenceSession(path)
    (logits,) = session.run(["logits"], {"stimulus": stimulus.numpy()})
    with torch.no_grad():
        ours = network(stimulus, steps).logits.numpy()
    assert logits.shape == (steps, samples, 10)
    # Sums of a few hundred float32 products, in another order.
    np.testing.assert_allclose(logits, ours, rtol=0, atol=1e-4)
    assert np.ptp(ours) > 0.1


def test_without_onnx_it_is_said_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(onnx_export, "NEEDS", ("no_such_module",))
    network, shape = lively("digits_convnet")
    with pytest.raises(UnsupportedError, match=r"no_such_module not installed; pip install"):
        to_onnx(network, shape, tmp_path / "a.onnx", timesteps=1)
