"""The control channel: JSON-RPC 2.0, one document a line, over a Unix socket that only its owner may use."""
