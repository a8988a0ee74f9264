"""ESP in user space (RFC 4303): packets of a TUN device in, protected packets out, and back.

:mod:`~nodes.esp.sa` holds the values, :mod:`~nodes.esp.plane` the core without I/O; ``python -m nodes.esp``
is the program that carries the packets (:mod:`nodes.esp.program`).
"""
