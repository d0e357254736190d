"""Reference files in kerchunk's formats: where in an object the keys of a Zarr hierarchy stand."""
