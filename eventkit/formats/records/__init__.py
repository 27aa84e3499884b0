"""Formats of one small binary record per event."""
