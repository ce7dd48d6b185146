"""How methods that distil artificial into spiking networks are measured.

The package names no method, simulator or data set. Start reading in
``harness.contracts``: the nouns, one file each.
"""

__version__ = "0.1.0"
