#!/bin/bash
# Installs the ssh server that tests let live through hops, where it is missing, and sees to it that it does not run on
# this machine: neither now nor at the next boot. `make test` calls it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
policy=/usr/sbin/policy-rc.d # Debian asks it whether a package may start what it brings

[ ! -x /usr/sbin/sshd ] || exit 0
if [ "$(id -u)" -ne 0 ] && command -v sudo >/dev/null; then
    exec sudo -- "${BASH_SOURCE[0]}"
fi
if [ "$(id -u)" -eq 0 ] && [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    # should it be left behind, it denies nothing: this process is not there any more
    cat >"$policy" <<END
#!/bin/sh
# of hopbed's setup/ssh-server.sh
[ -d /proc/$$ ] && case "\$*" in *ssh*) exit 101 ;; esac
exit 0
END
    chmod 755 "$policy"
fi
"$here/packages.sh" openssh-server
update-rc.d ssh disable
if [ -d /run/systemd/system ]; then
    systemctl disable --now --quiet ssh.service ssh.socket
fi
