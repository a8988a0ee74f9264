"""Unmodified applications that live through address changes: curl, iperf3 and ssh, each with its server.

::

    async with curl.running(ends, settings) as application:
        ...  # the client is under way
    finding = await application.wait()
"""
