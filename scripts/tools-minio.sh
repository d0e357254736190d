#!/usr/bin/env bash
# Builds the pinned MinIO into .tools/bin, once; a few minutes, or seconds from Go's own cache.
# Without a Go that can build it: one line and success, or failure where S3ZIPFS_REQUIRE_MINIO=1.
set -euo pipefail
cd "$(dirname "$0")/.."

version=v0.0.0-20260212201848-7aac2a2c5b7c
needs_go=1.24 # the go directive of that version's go.mod
binary=.tools/bin/minio

# Go writes a module's version into what it builds: the binary is its own stamp.
if [ -x "$binary" ] && grep -aqF "github.com/minio/minio"$'\t'"$version" "$binary"; then
    exit 0
fi

without_minio() {
    if [ "${S3ZIPFS_REQUIRE_MINIO:-}" = 1 ]; then
        echo "minio: $1, and S3ZIPFS_REQUIRE_MINIO=1" >&2
        exit 1
    fi
    echo "minio: $1; a minio on PATH or moto's server is used instead" >&2
    exit 0
}

export GOTOOLCHAIN=local # never fetch another Go
have_go=$(go env GOVERSION 2>/dev/null || true)
have_go=${have_go#go}
if [ -z "$have_go" ]; then
    without_minio "no Go to build it"
elif ! printf '%s\n' "$needs_go" "$have_go" | sort -V -C; then
    without_minio "Go $have_go can't build it, Go $needs_go can"
fi

mkdir -p .tools/bin
build=$(mktemp -d .tools/minio.XXXXXX)
trap 'rm -rf "$build"' EXIT
echo "building MinIO $version, once: a few minutes"
GOBIN="$PWD/$build" go install -trimpath -ldflags='-s -w' "github.com/minio/minio@$version" ||
    without_minio "the build failed"
mv "$build/minio" "$binary"
