"""What must not leave with a bundle, and its removal from text."""

from __future__ import annotations

import re

REDACTED = "[left out: a secret]"
_PRIVATE_KEY = re.compile(
    r"-----BEGIN (?P<kind>[A-Z ]*PRIVATE KEY)-----.*?(?:-----END (?P=kind)-----|\Z)", re.DOTALL
)
_NAMED = re.compile(
    r"""(?P<name>["']?\b(?:secret|psk|password|key|sk_[a-z]+|skeyid\w*|auth-trunc|enc|aead)["']?\s*[:=]\s*)"""
    r"""(?P<value>"(?:[^"\\]|\\.)*"|'[^']*'|0x[0-9a-fA-F]{8,}|[A-Za-z0-9+/_=-]{16,})""",
    re.IGNORECASE,
)
_XFRM_KEY = re.compile(r"^(?P<name>\s*(?:auth-trunc|auth|enc|aead)\s+\S+\s+)0x[0-9a-fA-F]+", re.MULTILINE)
_HEX_DUMP = re.compile(
    r"^(?P<name>.*=> \d+ bytes @ 0x[0-9a-fA-F]+)\n(?:.*\d+: [0-9A-F]{2}( [0-9A-F]{2})*.*\n?)+", re.MULTILINE
)


def without_secrets(text: str) -> str:
    """``text`` without private keys, values that are named like a secret, and charon's dumps of keys.

    It is the second fence: what writes evidence writes no secret in the first place, save the folder ``keys``
    that a run with ``--keys`` asks for, which a bundle never holds.
    """
    text = _PRIVATE_KEY.sub(REDACTED, text)
    text = _XFRM_KEY.sub(rf"\g<name>{REDACTED}", text)
    text = _HEX_DUMP.sub(rf"\g<name> {REDACTED}\n", text)
    return _NAMED.sub(rf"\g<name>{REDACTED}", text)
