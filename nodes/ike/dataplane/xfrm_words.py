"""States and policies in the words of ``ip xfrm``, for its standard input: no key on a command line."""

from __future__ import annotations

from nodes.ike.dataplane.base import Direction, EspSa, Policy

_ICV_BITS = 128


def add_state(sa: EspSa, direction: Direction) -> str:
    """The line that adds an SA as a state; it holds its keys."""
    words = [f"xfrm state add {_ends(sa, direction)} reqid {sa.reqid} mode tunnel"]
    words.append(f"replay-window {sa.replay_window if direction == 'in' or sa.esn else 0}")
    if sa.esn:
        words.append("flag esn")
    if sa.encryption == "aes-gcm-16":
        words.append(f"aead rfc4106(gcm(aes)) 0x{(sa.encryption_key + sa.salt).hex()} {_ICV_BITS}")
    else:
        words.append(f"auth-trunc hmac(sha256) 0x{sa.integrity_key.hex()} {_ICV_BITS}")
        words.append(f"enc cbc(aes) 0x{sa.encryption_key.hex()}")
    if sa.encap is not None:
        local, remote = sa.encap
        ports = (remote, local) if direction == "in" else (local, remote)
        words.append(f"encap espinudp {ports[0]} {ports[1]} ::")
    limits = {
        "byte-soft": sa.limits.soft_octets,
        "byte-hard": sa.limits.hard_octets,
        "packet-soft": sa.limits.soft_packets,
        "packet-hard": sa.limits.hard_packets,
    }
    words += [f"limit {name} {value}" for name, value in limits.items() if value]
    source, destination = _selectors(sa, direction)
    words.append(f"sel src {source} dst {destination}")
    return " ".join(words)


def delete_state(sa: EspSa, direction: Direction) -> str:
    """The line that deletes an SA's state."""
    return f"xfrm state delete {_ends(sa, direction)}"


def policies(verb: str, policy: Policy) -> list[str]:
    """The lines that ``add`` or ``delete`` what protects a policy's traffic, in all three directions."""
    return [_policy(verb, policy, direction) for direction in ("out", "in", "fwd")]


def release(policy: Policy) -> str:
    """The line that makes the kernel look again for an SA for what the policy holds."""
    return _policy("update", policy, "out")


def _policy(verb: str, policy: Policy, direction: str) -> str:
    ours, theirs = (policy.local, policy.local_ts), (policy.remote, policy.remote_ts)
    (end, inner), (other_end, other_inner) = (ours, theirs) if direction == "out" else (theirs, ours)
    line = f"xfrm policy {verb} src {inner} dst {other_inner} dir {direction}"
    if verb == "delete":
        return line
    priority = 1000 - policy.local_ts.prefixlen - policy.remote_ts.prefixlen
    template = f"tmpl src {end} dst {other_end} proto esp reqid {policy.reqid} mode tunnel"
    return f"{line} priority {priority} {template}"


def _ends(sa: EspSa, direction: Direction) -> str:
    source, destination = (sa.remote, sa.local) if direction == "in" else (sa.local, sa.remote)
    return f"src {source} dst {destination} proto esp spi 0x{sa.spi:08x}"


def _selectors(sa: EspSa, direction: Direction) -> tuple[str, str]:
    ours, theirs = str(sa.local_ts), str(sa.remote_ts)
    return (theirs, ours) if direction == "in" else (ours, theirs)
