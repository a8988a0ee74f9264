"""The guard beside charon: method 2 for a daemon that does not know it.

A process of its own in the peer's node (``python -m nodes.peer.guard START``). It hears from charon, through
VICI, which negotiations are abnormal, and silences IKE with that partner in the kernel's filter. When it
dies, of whatever, the kernel takes its filter away at once, and charon is a stock charon again.
"""
