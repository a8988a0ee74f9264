"""The codec of IKEv1's messages (RFC 2408, RFC 2409, RFC 3947): octets in, typed values out, and back.

Whatever the octets are, a parser returns or raises :class:`~nodes.ike.messages.malformed.MalformedError`.
"""
