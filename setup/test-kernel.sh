#!/bin/bash
# Boots Debian's stock kernel on this root file system, by emulation, and runs there the tests named as arguments:
# those of the data planes that the machine's own kernel may lack. `make test-kernel` calls it.
#
# The root is read-only inside, with memory over it; what the tests write goes with the machine, but for their report.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

MACHINE=build/kernel
TIME_LIMIT=${TIME_LIMIT:-840} # seconds: the emulated machine is ended then

kernel() { find "$MACHINE/root/boot" -name 'vmlinuz-*' 2>/dev/null | head -n 1; }

# The package is unpacked, not installed: the machine keeps its own kernel.
if [ -z "$(kernel)" ]; then
    echo "test-kernel: unpacking Debian's linux-image-amd64" >&2
    mkdir -p "$MACHINE/packages"
    package=$(apt-cache depends linux-image-amd64 | awk '$1 == "Depends:" { print $2; exit }')
    (cd "$MACHINE/packages" && apt-get -qq download "$package")
    dpkg -x "$MACHINE"/packages/linux-image-*.deb "$MACHINE/root"
    rm -r "$MACHINE/packages"
    version=$(kernel) && version=${version##*/vmlinuz-}
    /sbin/depmod -b "$MACHINE/root" "$version"
fi

work=$(mktemp -d "$PWD/$MACHINE/run.XXXXXX")
trap 'rm -rf "$work"' EXIT
cat >"$work/inside" <<END
#!/bin/bash
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb HOPBED_SLOW_MACHINE=1
exec >"$work/output" 2>&1
uname -r
for module in esp6 xfrm_user sch_netem nft_queue tun bridge veth mptcp_diag; do modprobe -q "\$module"; done
mount -t tmpfs tmpfs /tmp
cd "$PWD"
.venv/bin/hopbed doctor
time .venv/bin/python -m pytest -p no:cacheprovider -q -m "not docker" $(printf ' %q' "$@")
echo \$? >"$work/status"
END
chmod +x "$work/inside"

touch "$work/output"
tail -f "$work/output" &
watching=$!
trap 'kill "$watching"; rm -rf "$work"' EXIT

# /dev/kvm may be there and not work; emulation always does.
PATH="$PWD/.venv/bin:$PATH" timeout --signal=KILL "$TIME_LIMIT" vng --disable-kvm --force-9p --disable-microvm --cpus 2 --memory 4G \
    --run "$(kernel)" --root / --user root --rwdir "$work" --exec "$work/inside" </dev/null >"$work/console" 2>&1 || true

status=$(cat "$work/status" 2>/dev/null || echo none)
if [ "$status" = none ]; then
    tail -n 20 "$work/console" >&2
    echo "test-kernel: the machine did not get to the end of the tests within $TIME_LIMIT s" >&2
    exit 1
fi
exit "$status"
