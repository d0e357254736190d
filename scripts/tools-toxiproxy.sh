#!/usr/bin/env bash
# Builds the pinned toxiproxy, which slows links down, into .tools/bin, once; less than a minute.
# Without Go: one line and success, or failure where S3ZIPFS_REQUIRE_MINIO=1, as for all tools.
set -euo pipefail
cd "$(dirname "$0")/.."

module=github.com/Shopify/toxiproxy/v2
version=v2.12.0
binary=.tools/bin/toxiproxy-server

# Go writes a module's version into what it builds: the binary is its own stamp.
if [ -x "$binary" ] && grep -aqF "$module"$'\t'"$version" "$binary"; then
    exit 0
fi

without_toxiproxy() {
    if [ "${S3ZIPFS_REQUIRE_MINIO:-}" = 1 ]; then
        echo "toxiproxy: $1, and S3ZIPFS_REQUIRE_MINIO=1" >&2
        exit 1
    fi
    echo "toxiproxy: $1; what needs a slow link is left out" >&2
    exit 0
}

command -v go >/dev/null || without_toxiproxy "no Go to build it"
mkdir -p .tools/bin
build=$(mktemp -d .tools/toxiproxy.XXXXXX)
trap 'rm -rf "$build"' EXIT
echo "building toxiproxy $version, once"
GOTOOLCHAIN=local GOBIN="$PWD/$build" \
    go install -trimpath -ldflags='-s -w' "$module/cmd/server@$version" ||
    without_toxiproxy "the build failed"
mv "$build/server" "$binary"
