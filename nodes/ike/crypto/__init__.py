"""The cryptography of IKEv1: groups, keys, hashes and the chain of initialisation vectors. No I/O."""
