"""What both native networks take from a topology of ours."""

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn.functional import pad

from suites.models._resnet import ResNet


def blocks_of(topology: ResNet) -> Iterator[tuple[int, int, int]]:
    """Yield input channels, output channels and stride of every block."""
    inputs = topology.widths[0]
    for stage, (count, outputs) in enumerate(zip(topology.blocks, topology.widths, strict=True)):
        for index in range(count):
            yield inputs, outputs, 2 if stage and not index else 1
            inputs = outputs


class PaddedPixels(nn.Module):
    """Every second pixel, between planes of zeros."""

    def __init__(self, planes: int) -> None:
        super().__init__()
        self.planes = planes

    def forward(
        self,
        signal: Tensor,  # [T, N, C, H, W]
    ) -> Tensor:
        return pad(signal[..., ::2, ::2], (0, 0, 0, 0, self.planes, self.planes))
