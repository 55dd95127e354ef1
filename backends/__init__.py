"""Devices. Nothing here imports from gateway."""
