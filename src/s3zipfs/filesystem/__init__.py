"""The fsspec door: the tree as `s3zip://bucket/key.zip/member`, and one zip as a filesystem."""

from s3zipfs.filesystem.buckets import S3ZipFileSystem
from s3zipfs.filesystem.zips import ZipFileSystem

__all__ = ["S3ZipFileSystem", "ZipFileSystem"]
