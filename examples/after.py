"""The same by one changed import: any number of threads, each chunk by a range of its own.

All bytes are of one version of the object, and verified.
"""

import zarr
from fsspec.mapping import FSMap
from s3fs import S3FileSystem

from s3zipfs import ZipFileSystem

fs = S3FileSystem()  # AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY
zip_fs = ZipFileSystem(fo=fs.open("demo/sub-01_eeg.rkns", "rb"))
root = zarr.open(FSMap(root="", fs=zip_fs), mode="r")
signals = root["signals"]
print(signals.shape, signals.dtype, signals[:].sum(dtype="f8"))
