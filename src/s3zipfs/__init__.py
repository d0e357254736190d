"""Zip archives in MinIO and S3 as directories: a FUSE mount and fsspec filesystems."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["S3ZipFileSystem", "ZipFileSystem", "__version__"]

if TYPE_CHECKING:
    from s3zipfs.filesystem import S3ZipFileSystem, ZipFileSystem


def __getattr__(name: str) -> Any:
    # On first use: `s3zipfs --help` and the FUSE door have no need of fsspec.
    if name in {"S3ZipFileSystem", "ZipFileSystem"}:
        from s3zipfs import filesystem  # noqa: PLC0415

        return getattr(filesystem, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
