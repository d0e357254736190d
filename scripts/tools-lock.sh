#!/usr/bin/env bash
# Writes requirements/*.txt: exact versions and hashes for every supported Python (make lock).
set -euo pipefail
cd "$(dirname "$0")/.."

uv_version=0.13.8

python3 -m venv .tools/env-lock
.tools/env-lock/bin/pip install --quiet "uv==$uv_version"

compile() {
    .tools/env-lock/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
        --generate-hashes --no-emit-index-url --no-emit-find-links --no-header "$@"
}
compile pyproject.toml -o requirements/runtime.txt
compile pyproject.toml --all-extras --group dev -c requirements/runtime.txt -o requirements/dev.txt
compile requirements/zarr2.in pyproject.toml -c requirements/runtime.txt -o requirements/zarr2.txt
compile requirements/ecosystem.in pyproject.toml -c requirements/runtime.txt -o requirements/ecosystem.txt
compile requirements/ratarmount.in -o requirements/ratarmount.txt
compile requirements/docs.in -o requirements/docs.txt
