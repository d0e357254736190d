"""The namespace: buckets, prefixes, archives and members, as one read-only tree."""
