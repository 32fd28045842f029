# Shared by the scripts beside it: `. "$(dirname "$0")/lib.sh"`. It moves to the
# repository's root, so every path below and in the scripts is relative to it.
# shellcheck shell=bash disable=SC2034

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

# Several versions are installed side by side; the variable selects one, for every script
# and for the tests against the real Envoy.
KEYSTILE_ENVOY_VERSION="${KEYSTILE_ENVOY_VERSION:-1.40.0}"
export KEYSTILE_ENVOY_VERSION

# Where Cargo builds, which the user may have moved. Our own results do not
# move: `target/dist` is written in the configurations under `envoy/`.
BUILD_DIR="${CARGO_TARGET_DIR:-target}"
DIST_DIR=target/dist

# Without the folder of this machine's crates, which the places of panics would name (our own
# are relative), so that the same commit is the same file wherever it is built. Not the folder
# of the build: Cargo makes other symbols under other flags. Here, because whatever compiles
# for wasm is to share one build of the crates. With SIMD, which Envoy's V8 has everywhere:
# SHA-256 then takes a quarter less. And with less inlining than usual, except of what is marked for
# it, and loops that are not written out several times: Envoy compiles all of the filter before its
# first request, a millisecond for each KB.
export CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS="--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo -Ctarget-feature=+simd128 -Cllvm-args=-inline-threshold=50 -Cllvm-args=-unroll-runtime=false"

# What native code is compiled with: `release`, or `dev`, which takes a quarter as long to compile and is
# what the demo and the tests of every change run.
KEYSTILE_PROFILE="${KEYSTILE_PROFILE:-release}"
export KEYSTILE_PROFILE

# The folder in which Cargo puts what has that profile.
native_folder() {
    case "$KEYSTILE_PROFILE" in
    dev) say debug ;;
    *) say "$KEYSTILE_PROFILE" ;;
    esac
}

say() { printf '%s\n' "$*"; }

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# The binary itself, not the wheel's Python launcher: a signal must reach Envoy,
# and its process id must be the one that we started.
envoy_binary() {
    printf '%s\n' ".tools/envoy-$KEYSTILE_ENVOY_VERSION/envoy/_bin/envoy"
}

has() { command -v "$1" >/dev/null 2>&1; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif has sudo; then
        sudo "$@"
    else
        die "run as root or install sudo; needed: $*"
    fi
}

# A fresh machine may be upgrading itself: waits for its locks, five minutes at most. The option
# covers dpkg's lock, the loop that of the package lists.
apt_get() {
    local end=$((SECONDS + 300)) printed waits=false
    until printed="$(as_root env LC_ALL=C DEBIAN_FRONTEND=noninteractive apt-get -qq \
        -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" 2>&1 >/dev/null)"; do
        if [[ "$printed" != *'Could not get lock'* ]] || [ "$SECONDS" -ge "$end" ]; then
            printf '%s\n' "$printed" >&2
            return 1
        fi
        $waits || say "${0##*/}: waiting for another apt-get to finish"
        waits=true
        sleep 1
    done
}
