"""S3 and MinIO: the control plane by s3fs's client, the bytes by obstore, as one store."""

from s3zipfs.stores.s3.store import S3Store

__all__ = ["S3Store"]
