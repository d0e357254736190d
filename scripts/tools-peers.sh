#!/usr/bin/env bash
# Builds the peers that `make bench` compares with into .tools/bin, once; some minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

version=v1.75.0
binary=.tools/bin/rclone

if [ -x "$binary" ] && grep -aqF "github.com/rclone/rclone"$'\t'"$version" "$binary"; then
    exit 0
fi
if ! command -v go >/dev/null; then
    echo "rclone: no Go to build it; its rows are left out" >&2
    exit 0
fi
mkdir -p .tools/bin
build=$(mktemp -d .tools/rclone.XXXXXX)
trap 'rm -rf "$build"' EXIT
echo "building rclone $version, once: some minutes"
GOTOOLCHAIN=local GOBIN="$PWD/$build" \
    go install -trimpath -ldflags='-s -w' "github.com/rclone/rclone@$version"
mv "$build/rclone" "$binary"
