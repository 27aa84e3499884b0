"""The formats of iniVation and jAER: AEDAT 1 to 4."""
