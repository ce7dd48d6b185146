"""VGGSNN of the event literature (Deng et al., ICLR 2022, "Temporal Efficient Training").

64C3-128C3-AP2-256C3-256C3-AP2-512C3-512C3-AP2-512C3-512C3-AP2-FC, for frames of 48x48. Ours
pools by the maximum, as all our VGGs do, where theirs averages: of spikes the maximum
makes spikes, so that every convolution after the first still only accumulates.
"""

from dataclasses import dataclass

from torch import nn

from harness.contracts.inputs import Classes, Image
from harness.contracts.model import Model
from suites.models._signal import Activation
from suites.models._vgg import VGG


@dataclass(frozen=True, kw_only=True)
class VGGSNN:
    """Eight convolutions, pooled after every second, whatever the size of the frames.

    Attributes:
        widths: Channels of each convolution, stage by stage.
    """

    widths: tuple[tuple[int, ...], ...] = ((64, 128), (256, 256), (512, 512), (512, 512))

    def build(self, activation: Activation, /, *, input: Image, output: Classes) -> nn.Module:
        """Return the topology with ``activation()`` in every slot.

        Raises:
            SpecError: If frames are too small for the poolings.
        """
        # 48 pixels leave maps of 3x3, which are flattened as in the paper.
        side = max(1, min(3, *(pixels >> len(self.widths) for pixels in input.shape[1:])))
        return VGG(widths=self.widths, side=side).build(activation, input=input, output=output)


MODEL: Model = VGGSNN()
