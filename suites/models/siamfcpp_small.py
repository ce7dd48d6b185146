"""SiamFC++ of a size that trains on a processor in minutes."""

from harness.contracts.model import Model
from suites.models._siamese import SiamFCpp

# Template 95 and search 191 pixels: features of 6x6 and 18x18, 11x11 points.
MODEL: Model = SiamFCpp(widths=(12, 24, 32, 24), kernels=(7, 3, 3, 3), head=1)
