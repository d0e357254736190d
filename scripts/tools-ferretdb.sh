#!/usr/bin/env bash
# Builds the pinned FerretDB, which speaks MongoDB's protocol over SQLite, into .tools/bin, once.
# Where it can't be built: one line, and success. The tests are of zarr and us; of MongoDB one row is.
set -euo pipefail
cd "$(dirname "$0")/.."

module=github.com/FerretDB/FerretDB
version=v1.24.0 # of version 1, the last that needs no PostgreSQL
binary=.tools/bin/ferretdb

if [ -x "$binary" ] && [[ $("$binary" --version) == *"version: $version"* ]]; then
    exit 0
fi

without_ferretdb() {
    echo "ferretdb: $1; copies into MongoDB are left out" >&2
    exit 0
}

command -v go >/dev/null || without_ferretdb "no Go to build it"
mkdir -p .tools/bin
build=$(mktemp -d "$PWD/.tools/ferretdb.XXXXXX")
trap 'rm -rf "$build"' EXIT
echo "building FerretDB $version, once: some minutes"
# From a copy of the module: it wants a file version.txt among its sources, and has none. (`go install`
# would ask for a list of its versions as well, which not every proxy has.)
export GOTOOLCHAIN=local
sources=$(cd "$build" && timeout 120 go mod download -json "$module@$version" |
    sed -n 's/.*"Dir": "\(.*\)".*/\1/p') || without_ferretdb "its sources can't be had"
cp -r "$sources" "$build/sources"
chmod -R u+w "$build/sources"
echo "$version" >"$build/sources/build/version/version.txt"
(cd "$build/sources" && timeout 900 go build -trimpath -buildvcs=false -ldflags='-s -w' -o ../ferretdb \
    -tags ferretdb_no_postgresql,ferretdb_no_mysql,ferretdb_no_hana ./cmd/ferretdb) ||
    without_ferretdb "the build failed"
mv "$build/ferretdb" "$binary"
