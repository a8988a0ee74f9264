"""The terminal: a node whose addresses hop (method 1)."""
