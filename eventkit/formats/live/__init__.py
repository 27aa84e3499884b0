"""Recordings that are still being made: standard input, a file that grows, datagrams."""
