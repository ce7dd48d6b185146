"""Methods: one file each, providing ``METHOD`` and ``CARD``."""
