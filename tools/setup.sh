#!/usr/bin/env bash
# Creates .venv with daq and what its tests need; works without root, and where Debian's python3 has no venv and no pip.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${DAQ_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/daq}
say() { echo "daq: $*" >&2; }

for candidate in python3.11 python3.12 python3.13 python3; do
    if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
[[ -n ${python:-} ]] || { say "Python 3.11 or newer is needed and was not found"; exit 1; }

# Debian's own pip, a wheel inside a package: the only way to get pip without root if python3-venv is not installed.
pip_from_debian() {
    local work
    work=$(mktemp -d)
    mkdir -p "$work/lists/partial" "$work/apt/archives/partial"
    (
        cd "$work"
        options=(-qq -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/apt" -o Debug::NoLocking=1 -o APT::Sandbox::User="$(id -un)")
        apt-get "${options[@]}" update && apt-get "${options[@]}" download python3-pip-whl && dpkg -x ./*.deb root
    ) >"$work/log" 2>&1 || { cat "$work/log" >&2; say "pip could not be fetched; install python3-venv and try again"; exit 1; }
    cp "$work"/root/usr/share/python-wheels/pip-*.whl "$cache/"
    rm -rf "$work"
}

mkdir -p "$cache"
exec 9>"$cache/.setup-lock"
flock 9
say "installing Python packages into .venv (about a minute the first time) …"
if .venv/bin/python -m pip --version >/dev/null 2>&1; then
    pip=(.venv/bin/python -m pip)  # .venv exists already: only update it
else
    rm -rf .venv
    if "$python" -c 'import ensurepip' 2>/dev/null && "$python" -m venv .venv 2>/dev/null; then
        pip=(.venv/bin/python -m pip)
    else
        rm -rf .venv
        "$python" -m venv --without-pip .venv
        compgen -G "$cache/pip-*.whl" >/dev/null || pip_from_debian
        pip=(.venv/bin/python "$(compgen -G "$cache/pip-*.whl" | head -n 1)/pip")
    fi
fi
"${pip[@]}" install --quiet --disable-pip-version-check --no-warn-script-location -c constraints.txt -e '.[dev]' >&2
touch .venv/.ready
