"""Recordings of events, cut into frames once and mapped from a file ever after."""

from harness.data.events.cache import Decoder, cached_frames
from harness.data.events.framing import Events, Framing, frames
from harness.data.events.recording import Recording

__all__ = [
    "Decoder",
    "Events",
    "Framing",
    "Recording",
    "cached_frames",
    "frames",
]
