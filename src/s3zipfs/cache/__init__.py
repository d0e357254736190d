"""Bytes in memory by content and offset, the plan of what to read ahead, and the reader of both."""
