"""The IPsec peer: a strongSwan charon that is started, supervised and driven through VICI alone."""
