"""What carries ESP for the IKEv1 endpoint: the kernel, or a process of our own over TUN."""
