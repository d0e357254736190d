"""Zip archives in MinIO and S3 as directories: a FUSE mount and an fsspec filesystem."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["S3ZipFileSystem", "__version__"]

if TYPE_CHECKING:
    from s3zipfs.filesystem import S3ZipFileSystem


def __getattr__(name: str) -> Any:
    # On first use: `s3zipfs --help` and the FUSE door have no need of fsspec.
    if name == "S3ZipFileSystem":
        from s3zipfs.filesystem import S3ZipFileSystem  # noqa: PLC0415

        return S3ZipFileSystem
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
