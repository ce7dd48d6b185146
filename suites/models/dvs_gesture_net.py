"""The network for DVS-Gesture of Fang et al., ICCV 2021 (PLIF), table 1.

{C128k3-BN-neuron-MP2}*5-FC512-neuron-FC. Without their dropout, and without the voting
layer that averages ten neurons a class: a read-out of logits needs none.
"""

from dataclasses import dataclass

from torch import nn

from harness.contracts.inputs import Classes, Image
from harness.contracts.model import Model
from suites.models._signal import Activation
from suites.models._vgg import VGG


@dataclass(frozen=True, kw_only=True)
class GestureNet:
    """Five pooled convolutions, whatever the size of the frames.

    Attributes:
        width: Channels of each convolution.
        hidden: Neurons before the classifier.
    """

    width: int = 128
    hidden: int = 512

    def build(self, activation: Activation, /, *, input: Image, output: Classes) -> nn.Module:
        """Return the topology with ``activation()`` in every slot.

        Raises:
            SpecError: If frames are too small for five poolings.
        """
        # 128 pixels leave maps of 4x4, which are flattened as in the paper.
        side = max(1, min(4, *(pixels // 32 for pixels in input.shape[1:])))
        topology = VGG(widths=((self.width,),) * 5, side=side, hidden=self.hidden)
        return topology.build(activation, input=input, output=output)


MODEL: Model = GestureNet()
