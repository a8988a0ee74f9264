#!/bin/bash
# Installs Docker Engine (docker.io) on Debian or Ubuntu where none answers, and starts it: through systemd where
# systemd runs, else by hand. Does nothing where an engine answers. `make engine` calls it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

say() { echo "engine: $*" >&2; }

answers() { timeout 30 docker version --format 'Docker Engine {{.Server.Version}} answers' 2>/dev/null; }

if [ "$(id -u)" -ne 0 ]; then
    if answers >&2; then
        exit 0
    fi
    if ! command -v sudo >/dev/null; then
        say "needs root, and there is no sudo: run \`make engine\` as root"
        exit 3
    fi
    exec sudo -- "$here/engine.sh"
fi

install_engine() {
    if ! command -v apt-get >/dev/null; then
        say "knows Debian and Ubuntu only: install and start Docker Engine by hand"
        exit 3
    fi
    say "installing docker.io"
    apt-get -qq update
    local packages=(docker.io iptables ca-certificates python3)
    if apt-cache show docker-cli >/dev/null 2>&1; then # a package of its own since Debian 13
        packages+=(docker-cli)
    fi
    DEBIAN_FRONTEND=noninteractive \
        apt-get -qq -y --no-install-recommends install "${packages[@]}" </dev/null >/dev/null
}

start_engine() {
    if [ -d /run/systemd/system ]; then
        systemctl enable --now docker
    else
        python3 "$here/dockerd.py" || exit 3
    fi
}

# Whoever called through sudo may then use the engine without it.
admit_caller() {
    local user=${SUDO_USER:-root}
    if [ "$user" != root ] && ! id -nG "$user" | grep -qw docker; then
        usermod -aG docker "$user"
        say "$user is now in the group docker; that takes effect with the next login, or at once with: newgrp docker"
    fi
}

exec 9>/run/hopbed-engine.lock
flock 9 # a second call waits here, and then finds the engine
if ! answers >/dev/null; then
    if ! command -v dockerd >/dev/null || ! command -v docker >/dev/null; then
        install_engine
    fi
    answers >/dev/null || start_engine 9>&-
fi
admit_caller
if ! answers >&2; then
    say "the engine was started and does not answer:"
    docker version >&2
    exit 3
fi
