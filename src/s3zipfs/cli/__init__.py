"""The command line: it parses, calls and prints; what it does is decided below it."""
