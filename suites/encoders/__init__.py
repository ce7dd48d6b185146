"""Encoders: how a static image becomes a stimulus in time. One file each, as ``ENCODER``.

An encoder is called with images ``[N, C, H, W]`` in [0, 1], the number of timesteps and a
generator on the processor, and returns ``[T, N, C, H, W]``. Its ``words`` go into the row's
encoding.
"""
