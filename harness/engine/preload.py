"""What cells take long to import, imported once, in the server that they are forked from.

Nothing here runs a tensor operation: threads that it would start do not survive the fork.
"""

import signal
from contextlib import suppress
from importlib import import_module
from threading import RLock

import torch
import torch._dynamo  # the first optimiser imports it, which takes a second

from harness import discovery
from harness.contracts.suite import Suite
from harness.engine import cell, traces, worker

# Those of nearly every cell. Whoever asks for another waits for its import; JAX must not be forked.
for _name in Suite.witnesses:
    with suppress(Exception):  # not installed or broken: its own cells will say so
        import_module(f"{discovery.module_of('backends', _name)}.neuron")

# What torch.compile would leave behind in each process, and changes no number. It has bars, with
# a lock between processes and a thread that watches them; it extends the search path; and it
# lets modules say when they were made.
with suppress(ImportError):
    bars = import_module("tqdm").tqdm
    bars.set_lock(RLock())
    bars.monitor_interval = 0
    import_module("setuptools")
with suppress(ImportError, AttributeError):
    import_module("torch._dynamo.mutation_guard").install_generation_tagging_init()

# Here the server itself takes over, and cells have what it had before (``unheard``).
signal.signal(signal.SIGINT, signal.default_int_handler)

__all__ = ["cell", "torch", "traces", "worker"]
