#!/usr/bin/env bash
# Makes or updates a virtual environment from a lock with hashes: bootstrap-venv.sh FOLDER LOCK [PROJECT]
# PYTHON names the interpreter; without it the first that is 3.11 or newer.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$1
lock=$2
project=${3:-} # installed editable, with what the lock holds and nothing else

mkdir -p .tools
exec 9>".tools/venv.lock"
flock 9 # guards the folder against a second make in this checkout

find_python() {
    local name
    for name in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    echo "no Python 3.11 or newer found${PYTHON:+ (PYTHON=$PYTHON)}" >&2
    return 1
}

if ! "$folder/bin/python" -m pip --version >/dev/null 2>&1; then
    python=$(find_python)
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        # Debian keeps it in a package of its own. It is no command, so it counts as missing.
        scripts/bootstrap-system.sh ensurepip:python3-venv
    fi
    "$python" -m venv --clear "$folder"
fi
echo "installing $lock into $folder"
pip=("$folder/bin/python" -m pip --disable-pip-version-check --no-input)
"${pip[@]}" install --quiet --require-hashes -r "$lock"
if [ -n "$project" ]; then
    "${pip[@]}" install --quiet --no-deps --no-build-isolation -e "$project"
fi
