"""The IKEv1 endpoint of our own (methods 2 and 3)."""
