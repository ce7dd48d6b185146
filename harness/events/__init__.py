"""Recordings of events, cut into frames once and mapped from a file ever after."""

from harness.events.cache import Decoder, cache_folder, cached_frames
from harness.events.framing import Events, Framing, frames
from harness.events.recording import Recording

__all__ = [
    "Decoder",
    "Events",
    "Framing",
    "Recording",
    "cache_folder",
    "cached_frames",
    "frames",
]
