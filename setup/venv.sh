#!/bin/bash
# Makes the virtual environment .venv from the distribution's Python, exactly as requirements.lock says.
# `make setup` calls it when the lock changed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
umask 022 # every user of the machine may use it

# A Python that can make the environment: new enough, and not in somebody's home, where others cannot run it.
fits() {
    "$1" - 2>/dev/null <<'END'
import ensurepip, pathlib, sys, venv
home = any(part in sys.base_prefix.split("/")[1:2] for part in ("root", "home"))
sys.exit(sys.version_info < (3, 11) or home)
END
}

python=
for candidate in /usr/bin/python3 python3.13 python3.12 python3.11; do
    found=$(command -v "$candidate" || true)
    if [ -n "$found" ] && fits "$found"; then
        python=$found
        break
    fi
done
if [ -z "$python" ]; then
    echo "setup: needs Python 3.11 or newer with venv, outside of any home: as root, run" \
        "apt-get install python3.11 python3.11-venv (or a newer one)" >&2
    exit 3
fi

base() { "$1" -c 'import sys; print(sys.base_prefix, sys.version_info[:3])' 2>/dev/null; }

if [ "$(base .venv/bin/python)" != "$(base "$python")" ]; then
    echo "setup: making .venv from $python" >&2
    "$python" -m venv --clear .venv
fi
pip=(.venv/bin/python -m pip --quiet --disable-pip-version-check --no-input)
"${pip[@]}" install --require-hashes --requirement requirements.lock
# setuptools warns that an editable package may be shadowed by folders of its name; these folders are the package.
PYTHONWARNINGS=ignore "${pip[@]}" install --no-deps --no-build-isolation --no-index --editable .
