"""SiamFC++ with AlexNet's convolutions, of the published sizes (Xu et al., AAAI 2020)."""

from harness.contracts.model import Model
from suites.models._siamese import SiamFCpp

# Template 127 and search 303 pixels: features of 6x6 and 28x28, 17x17 points.
MODEL: Model = SiamFCpp(widths=(96, 256, 384, 384, 256), kernels=(11, 5, 3, 3, 3), head=3)
