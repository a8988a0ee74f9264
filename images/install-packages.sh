#!/bin/sh
# Installs the node image's Debian packages. Runs inside the image, on a Debian base of any origin.
set -eu

# No service starts in an image, whatever a package's scripts ask for.
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod +x /usr/sbin/policy-rc.d

# A node reads no manual pages; copyright files stay.
cat >/etc/dpkg/dpkg.cfg.d/hopbed <<'END'
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/man/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/locale/*
END

export DEBIAN_FRONTEND=noninteractive
apt-get -q update
apt-get -q -y --no-install-recommends install \
    strongswan-charon strongswan-swanctl libcharon-extra-plugins libstrongswan-standard-plugins \
    wireshark-common \
    iproute2 nftables iptables iputils-ping \
    python3 python3-venv \
    curl iperf3 openssh-client openssh-server

# A key that every container shares is no key: whoever runs sshd makes its own.
rm -f /etc/ssh/ssh_host_*
rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log /var/log/alternatives.log
