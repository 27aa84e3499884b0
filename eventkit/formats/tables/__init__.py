"""Formats whose events are columns or rows: NumPy, HDF5, MATLAB, Parquet and text."""
