"""Topologies: one file each, providing ``MODEL``."""
