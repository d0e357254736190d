"""One archive version: its index, and the readers of its members."""
