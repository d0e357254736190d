"""What is wrong with this machine, an endpoint or credentials: checks, each a line or a few."""
