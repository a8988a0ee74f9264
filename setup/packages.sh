#!/bin/bash
# Installs the Debian packages that a run on this machine needs, and those named as arguments, where they are
# missing. `make setup` calls it.
set -euo pipefail

packages=(
    python3 python3-venv ca-certificates
    # what nodes run: the IKE daemon, capture, addresses, filters
    strongswan-charon strongswan-swanctl libcharon-extra-plugins libstrongswan-standard-plugins
    wireshark-common iproute2 nftables iptables iputils-ping util-linux
    # the unmodified applications that live through hops; an ssh server would start at once on the machine:
    # ssh-server.sh brings it for the tests
    curl iperf3 openssh-client
    # what makes the node image's base where none can be pulled; uidmap lets it do so without root
    mmdebstrap uidmap
    "$@"
)

missing=()
for package in "${packages[@]}"; do
    if [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" != installed ]; then
        missing+=("$package")
    fi
done
[ ${#missing[@]} -gt 0 ] || exit 0

echo "setup: installing ${missing[*]}" >&2
if ! command -v apt-get >/dev/null; then
    echo "setup: knows Debian and Ubuntu only: install by hand what these packages hold" >&2
    exit 3
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "setup: needs root, and there is no sudo: as root, run apt-get install ${missing[*]}" >&2
        exit 3
    fi
    as_root=(sudo)
fi
"${as_root[@]}" apt-get -qq update
# Noninteractive: wireshark-common would ask who may capture; nobody beyond root is its answer then.
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -qq -y --no-install-recommends install "${missing[@]}" </dev/null >/dev/null
