"""The two runtimes behind one seam: ``namespaces`` and ``docker``."""
