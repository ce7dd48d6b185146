"""Data sets: one file each, providing ``DATASET``."""
