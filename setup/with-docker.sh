#!/bin/bash
# Runs a command with the rights of the group docker, where this user is a member but logged in before it was one.
set -euo pipefail
if [ "$(id -u)" -ne 0 ] && ! id -nG | grep -qw docker && id -nG "$(id -un)" | grep -qw docker; then
    # The second sg restores the group of the process; mmdebstrap's newuidmap insists on the user's own.
    exec sg docker -c "exec sg $(id -gn) -c $(printf '%q' "$(printf '%q ' "$@")")"
fi
exec "$@"
