"""Captures interfaces of a node into a pcapng file, with dumpcap.

``python -m nodes.capture --interface eth0 [--interface ipsec0 …] --file FILE [--filter BPF] [--snaplen N]``

A program under the contract of :mod:`nodes.program`. It is ``ready`` once dumpcap captures: a packet that is
sent afterwards is in the file. At the end of its standard input it waits until every packet that came before
is in the file too (:mod:`nodes.capture.endmark`), ends dumpcap, and says ``done`` with::

    packets     in the file, the marks at its end among them
    dropped     by the kernel and by dumpcap, for want of room
    interfaces  for each: name, received, dropped, marked (whether its end was proved by a mark)
    clock_offset_ns  CLOCK_REALTIME, which the file's times are, less CLOCK_MONOTONIC, which events' are

``ready`` says ``interfaces``, as names, and ``clock_offset_ns``. With ``--file -`` the capture goes to
standard output, for Wireshark to read, and the events go to standard error; it ends well, too, when the
reader goes away.
"""
