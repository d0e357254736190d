"""The FUSE door: the kernel asks, the tree answers. It translates, and decides nothing."""
