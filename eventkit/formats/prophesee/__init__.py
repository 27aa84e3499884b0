"""Prophesee's formats: RAW files of EVT 2, 2.1, 3 and 4, and DAT."""
