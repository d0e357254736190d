"""The zip format without I/O: what to read, the records, names, and a compact member index."""
