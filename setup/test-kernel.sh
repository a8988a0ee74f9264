#!/bin/bash
# Boots Debian's stock kernel on this root file system and runs tests there: those marked stock_kernel, or what pytest
# is to be told in the arguments. `make test-kernel` calls it.
#
# The machine sees the whole root file system and writes to its memory alone. It, and what is written for it here, live
# in namespaces of their own that end with this script, whatever ends it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

MACHINE=build/kernel
RUN=$PWD/$MACHINE/run
TIME_LIMIT=${TIME_LIMIT:-840} # seconds: the machine is ended then

kernel() { find "$MACHINE/root/boot" -name 'vmlinuz-*' 2>/dev/null | head -n 1; }

# The package is unpacked, not installed: this machine keeps its own kernel.
unpack_kernel() {
    echo "test-kernel: unpacking Debian's linux-image-amd64" >&2
    rm -rf "$MACHINE/root" "$MACHINE/unpacked"
    mkdir -p "$MACHINE/packages"
    local package version
    package=$(apt-cache depends linux-image-amd64 | awk '$1 == "Depends:" { print $2; exit }')
    (cd "$MACHINE/packages" && rm -f ./*.deb && apt-get -qq download "$package")
    dpkg -x "$MACHINE"/packages/linux-image-*.deb "$MACHINE/unpacked"
    version=$(find "$MACHINE/unpacked/boot" -name 'vmlinuz-*') && version=${version##*/vmlinuz-}
    /sbin/depmod -b "$MACHINE/unpacked" "$version"
    mv "$MACHINE/unpacked" "$MACHINE/root"
    rm -r "$MACHINE/packages"
}

# How many microseconds a boot sector of two instructions takes to its end by this accelerator; none: it does not get there.
boots_in() {
    local status=0 began=${EPOCHREALTIME/[.,]/}
    (timeout --signal=KILL 2 qemu-system-x86_64 -accel "$1" -nodefaults -display none -no-reboot \
        -device isa-debug-exit,iobase=0xf4,iosize=1 -drive "file=$RUN/sector,format=raw" || exit $?) &>/dev/null || status=$?
    [ "$status" -eq 1 ] || return 0 # the device's answer to 0
    echo $((${EPOCHREALTIME/[.,]/} - began))
}

# Whether this machine runs other machines itself, at a speed that is of use: about as soon done as by emulation.
virtualises() {
    [ -w /dev/kvm ] || return 1
    printf '\xb0\x00\xe6\xf4%0506d\x55\xaa' 0 >"$RUN/sector" # mov al, 0; out 0xf4, al
    local emulated virtual
    emulated=$(boots_in tcg)
    virtual=$(boots_in kvm)
    [ -n "$virtual" ] && [ "$virtual" -lt $((3 * ${emulated:-0})) ]
}

# What the machine does; $@ is for pytest.
write_inside() {
    cat >"$RUN/inside" <<INSIDE
#!/bin/bash
set -e
exec >"$RUN/output" 2>&1
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb

# virtme-ng's root asks this side again for every name and page; one that keeps what it read makes Python ten times
# as fast under emulation.
mkdir /run/root && mount -t tmpfs tmpfs /run/root && cd /run/root && mkdir kept written work new
mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=512000 kept kept
mount -t overlay -o lowerdir=kept,upperdir=written,workdir=work root new
cd new
for tree in proc sys dev; do mount --rbind "/\$tree" "\$tree"; done
mount -t tmpfs tmpfs run
case "$PWD/" in /tmp/*) ;; *) mount -t tmpfs tmpfs tmp ;; esac # a checkout under /tmp stays in sight
mkdir -p lib/modules && ln -sfn "$PWD/$MACHINE/root/lib/modules/\$(uname -r)" "lib/modules/\$(uname -r)"
mount --bind "$RUN" ".$RUN"
mkdir run/before && pivot_root . run/before && cd / && umount --lazy /run/before

for module in esp6 esp4 xfrm_user authenc gcm veth tun bridge sch_netem nft_queue mptcp_diag; do
    modprobe -q "\$module"
done
cd "$PWD"
echo "test-kernel: Linux \$(uname -r), booted in \$(cut -d ' ' -f 1 /proc/uptime) s"
status=0
HOPBED_PATIENCE=400 .venv/bin/python -m pytest -p no:cacheprovider -p no:hypothesispytest -o timeout=600 $(printf ' %q' "$@") || status=\$?
echo "\$status" >"$RUN/status"
INSIDE
    chmod +x "$RUN/inside"
}

# In the namespaces.
run_machine() {
    mount -t tmpfs tmpfs "$RUN"
    if virtualises; then
        accelerator=()
    else
        echo "test-kernel: no /dev/kvm that works here: the machine is emulated" >&2
        accelerator=(--disable-kvm)
    fi
    write_inside "$@"
    touch "$RUN/output"
    # No time for what no attacker is there for, and one address for a program in every process, whose translation the
    # emulator then finds again; the clock is read without asking it.
    TMPDIR=$RUN PATH="$PWD/.venv/bin:$PATH" timeout --signal=KILL "$TIME_LIMIT" \
        vng "${accelerator[@]}" --force-9p --disable-microvm --cpus 2 --memory 4G \
        --run "$(kernel)" --root / --user root --rwdir "$RUN" --exec "$RUN/inside" \
        --append "mitigations=off norandmaps no5lvl tsc=reliable clocksource=tsc" \
        --qemu-opts="-fsdev local,id=kept,path=/,security_model=none,readonly=on,multidevs=remap \
            -device virtio-9p-pci,fsdev=kept,mount_tag=kept" \
        </dev/null &>"$RUN/console" &
    tail -f --pid=$! "$RUN/output"
    status=$(cat "$RUN/status" 2>/dev/null || echo none)
    if [ "$status" = none ]; then
        tail -n 20 "$RUN/console" >&2
        echo "test-kernel: the machine did not get to the end of the tests within $TIME_LIMIT s" >&2
        exit 1
    fi
    exit "$status"
}

if [ "${1:-}" = --in-namespaces ]; then
    shift
    run_machine "$@"
fi

[ -n "$(kernel)" ] || unpack_kernel
mkdir -p "$RUN"
tests=("$@")
if [ $# -eq 0 ]; then
    # Collected here, where it is quick; the machine finds the byte code written.
    mapfile -t tests < <(.venv/bin/python -m pytest -p no:cacheprovider -q --collect-only --stock-kernel tests/integration |
        grep ::)
    [ ${#tests[@]} -gt 0 ] || { echo "test-kernel: no test is marked stock_kernel" >&2; exit 1; }
    tests=(-v --stock-kernel --durations=0 --durations-min=1 "${tests[@]}")
fi

user=()
[ "$(id -u)" -eq 0 ] || user=(--user --map-root-user)
trap 'exit 130' INT
trap 'exit 143' TERM
setpriv --pdeathsig KILL unshare "${user[@]}" --mount --pid --fork --kill-child=KILL --mount-proc \
    "$PWD/setup/test-kernel.sh" --in-namespaces "${tests[@]}" &
machine=$!
trap 'kill -KILL "$machine" 2>/dev/null || true' EXIT
wait "$machine"
