#!/bin/sh
# Makes sure that this machine can build the gateway, without asking.
#
# Installs make, cmake and a C compiler with apt-get, dnf, microdnf or yum, as root or through sudo,
# and only those that are missing; programs named as arguments, too: `install-prerequisites.sh
# valgrind`, and `c++` for a C++ compiler, which fuzzing needs. When nothing is missing it takes a few
# milliseconds and prints nothing. Rust is checked, never installed: a toolchain in somebody's home is
# theirs to choose.
set -eu

MINIMUM_RUST=1.89
# zlib-ng, which Pingora compresses with, is configured by cmake.
MINIMUM_CMAKE=3.14

say() { printf '%s\n' "$*" >&2; }
has() { command -v "$1" >/dev/null 2>&1; }

# Is version $1 at least version $2, compared as major.minor?
at_least() {
    have_major=${1%%.*} have_rest=${1#*.} want_major=${2%%.*} want_rest=${2#*.}
    have_minor=${have_rest%%.*} want_minor=${want_rest%%.*}
    case $have_major$have_minor in '' | *[!0-9]*) return 1 ;; esac
    [ "$have_major" -gt "$want_major" ] ||
        { [ "$have_major" -eq "$want_major" ] && [ "$have_minor" -ge "$want_minor" ]; }
}

check_rust() {
    if ! has cargo || ! has rustc; then
        say "error: Rust is not installed, or \`cargo\` is not on PATH"
        say "  help: install Rust $MINIMUM_RUST or newer, then run the same command again:"
        say "    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y"
        exit 1
    fi
    rust=$(rustc --version 2>/dev/null | cut -d ' ' -f 2)
    if ! at_least "$rust" "$MINIMUM_RUST"; then
        say "error: Rust $MINIMUM_RUST or newer is needed, found \`${rust:-none that runs}\`"
        say "  help: update it with \`rustup update stable\`, then run the same command again"
        exit 1
    fi
}

# A compiler without the C library's headers is no compiler, so one small program decides.
compiles_c() {
    has cc || return 1
    printf '#include <stdio.h>\nint main(void) { return puts("") < 0; }\n' |
        cc -x c -o /dev/null - >/dev/null 2>&1
}

compiles_cxx() {
    has c++ || return 1
    printf '#include <vector>\nint main() { return std::vector<int>().size(); }\n' |
        c++ -x c++ -o /dev/null - >/dev/null 2>&1
}

has_cmake() {
    has cmake && at_least "$(cmake --version | sed -n '1s/^cmake version //p')" "$MINIMUM_CMAKE"
}

# Prints what is missing, one word each. Arguments: `c++`, and programs in packages of the same name.
missing() {
    for program; do
        case $program in
        c++) compiles_cxx || echo c++-compiler ;;
        *) has "$program" || echo "$program" ;;
        esac
    done
    has make || echo make
    has_cmake || echo cmake
    compiles_c || echo c-compiler
}

# Runs a command as root.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif has sudo && [ -t 0 ]; then
        sudo "$@"
    elif has sudo; then
        sudo -n "$@"
    else
        say "error: installing packages needs root, and there is no \`sudo\` here"
        return 1
    fi
}

install_with() {
    manager=$1
    shift
    say "installing with $manager: $*"
    case $manager in
    apt-get)
        # An old package list is worth a try; a broken mirror of something else is not our business.
        as_root apt-get -o DPkg::Lock::Timeout=120 -qq update ||
            say "warning: \`apt-get update\` failed, trying with the package list at hand"
        as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get -o DPkg::Lock::Timeout=120 -qq -y install --no-install-recommends "$@"
        ;;
    *) as_root "$manager" -y install "$@" ;;
    esac
}

install_missing() {
    for manager in apt-get dnf microdnf yum none; do
        if has "$manager"; then break; fi
    done
    packages=
    for what in $1; do
        case $manager-$what in
        apt-get-c-compiler) packages="$packages gcc libc6-dev" ;;
        *-c-compiler) packages="$packages gcc glibc-devel" ;;
        apt-get-c++-compiler) packages="$packages g++" ;;
        *-c++-compiler) packages="$packages gcc-c++" ;;
        *) packages="$packages $what" ;;
        esac
    done
    if [ "$manager" = none ]; then
        # shellcheck disable=SC2086 # a list of words
        say "error: no apt-get, dnf or yum here, so these must be installed by hand:" $1
        exit 1
    fi
    # shellcheck disable=SC2086 # a list of package names
    if ! install_with "$manager" $packages; then
        say "error: could not install:$packages"
        say "  help: as root, run \`$manager install$packages\`, then run the same command again"
        exit 1
    fi
}

check_rust
lacking=$(missing "$@")
[ -n "$lacking" ] || exit 0
install_missing "$lacking"
lacking=$(missing "$@")
if [ -n "$lacking" ]; then
    # shellcheck disable=SC2086 # a list of words
    say "error: installed, but still not usable:" $lacking
    say "  help: needed are cmake $MINIMUM_CMAKE or newer and a \`cc\` that compiles and links C"
    exit 1
fi
