#!/usr/bin/env bash
# Makes .venv with everything the project needs, on a bare machine with Python 3.11 or newer. Prints only what matters.
set -euo pipefail
cd "$(dirname "$0")/.."

find_python() {
    for name in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11 python; do
        if [ -n "$name" ] && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    echo "error: Python 3.11 or newer is needed; name it with PYTHON=…" >&2
    exit 3
}

make_venv() {
    "$1" -m venv .venv 2>/dev/null && return
    rm -rf .venv
    # Debian ships venv as a package of its own.
    if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        echo "installing python3-venv" >&2
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null
        "$1" -m venv .venv && return
    fi
    echo "error: $1 cannot make a virtual environment; install python3-venv" >&2
    exit 3
}

python=$(find_python)
[ -x .venv/bin/python ] || make_venv "$python"
echo "installing comfy-doctor into .venv (once)" >&2
.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]' 2> >(grep -v '^WARNING: Location' >&2)
.venv/bin/python -m compileall -q .venv/lib comfy_doctor download_worker >/dev/null 2>&1 || true
touch .venv/.ready
