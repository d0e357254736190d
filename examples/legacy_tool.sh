#!/usr/bin/env bash
# Programs that know paths and nothing else, on zips in a bucket: legacy_tool.sh [MOUNTPOINT]
set -euo pipefail

mountpoint=${1:-$(mktemp -d)}
s3zipfs mount s3://demo "$mountpoint"
trap 's3zipfs umount "$mountpoint"' EXIT

cd "$mountpoint/notes.zip/2026"
echo "days: $(find . -name 'day-*.txt' | wc -l)"
echo "storms: $(grep --recursive --no-filename storm . | wc -l)"
echo "longest: $(awk '{ if (length > n) n = length } END { print n }' day-061.txt) characters"
sha256sum day-001.txt | cut --characters=-16
cd /
