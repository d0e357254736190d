"""The settings, their names and their only defaults."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from s3zipfs.settings.values import (
    DEFAULT_CACHE_SIZE,
    Address,
    BlockCacheSize,
    DirectoryName,
    EndpointUrl,
    File,
    Folder,
    Gid,
    Mode,
    Patterns,
    Size,
    SourceUrl,
    Uid,
    default_cache_dir,
)

DEFAULT_ARCHIVES = (
    "*.zip",  # .zarr.zip, .ome.zarr.zip and the rest
    "*.ozx",  # OME-Zarr in one file, RFC-9
    "*.rkns",  # EEG recordings: a Zarr v2 tree in a zip
    "*.cbz",  # comic books: page images
    "*.epub",  # EPUB OCF 3.3, 4.2: a zip by definition
    "*.npz",  # numpy.savez: each array a stored .npy
    "*.kmz",  # OGC KML 2.3, 6: a zip by definition
)
"""Names whose objects are zips by definition and whose members are of use as files.

Office documents, `.jar`, `.whl` and `.apk` are zips as well, but the programs that people use them
with want the file; `--archive` adds them.
"""


DEFAULT_CRAWLERS = (
    "updatedb*",  # of locate: updatedb.plocate, updatedb.mlocate
    "locate.updatedb",
    "tracker-miner*",  # GNOME's search until 46: tracker-miner-fs-3
    "tracker-extract*",
    "localsearch*",  # and since
    "baloo_file*",  # KDE's: baloo_file_extractor
)
"""Programs that walk all that is mounted, or read the beginning of each file of it.

Thumbnailers are none of them: they are asked for the directory that somebody looks at.
"""


class ConnectionSettings(BaseModel):
    """How to reach an endpoint, and as whom."""

    endpoint_url: EndpointUrl | None = Field(
        default=None,
        description="URL of the S3 endpoint; none means AWS",
        validation_alias=AliasChoices(
            "S3ZIPFS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "ENDPOINT_FULL"
        ),
    )
    region: str | None = Field(
        default=None,
        description="region to sign for; else the profile's, else us-east-1",
        validation_alias=AliasChoices("S3ZIPFS_REGION", "AWS_REGION", "AWS_DEFAULT_REGION"),
    )
    profile: str | None = Field(
        default=None,
        description="profile of the AWS configuration files",
        validation_alias=AliasChoices("S3ZIPFS_PROFILE", "AWS_PROFILE"),
    )
    ca_bundle: File = Field(
        default=None,
        description="PEM file with the certificate authorities to trust for the endpoint",
        validation_alias=AliasChoices("S3ZIPFS_CA_BUNDLE", "AWS_CA_BUNDLE"),
    )
    client_certificate: File = Field(
        default=None,
        description="PEM file with the certificate to show to the endpoint, and its chain",
    )
    client_key: File = Field(
        default=None,
        description="PEM file with the client certificate's key; else it is in the same file",
    )
    verify_tls: bool = Field(
        default=True,
        description="refuse an endpoint whose certificate is not trusted; without it anybody on "
        "the way can read and change what is sent",
    )
    access_key_file: File = Field(default=None, description="file with the access key")
    secret_key_file: File = Field(default=None, description="file with the secret key")
    session_token_file: File = Field(
        default=None, description="file with the session token of a temporary key pair"
    )
    credential_command: str | None = Field(
        default=None,
        description="command that prints credentials as JSON, as credential_process of the AWS "
        "configuration; run without a shell",
    )
    mc_alias: str | None = Field(
        default=None,
        description="alias of mc, MinIO's client, whose endpoint and keys are taken",
    )
    access_key: SecretStr | None = Field(
        default=None,
        description="access key; environment and files only",
        validation_alias=AliasChoices("S3ZIPFS_ACCESS_KEY", "STORAGE_ACCESS_KEY"),
    )
    secret_key: SecretStr | None = Field(
        default=None,
        description="secret key; environment and files only",
        validation_alias=AliasChoices("S3ZIPFS_SECRET_KEY", "STORAGE_SECRET_KEY"),
    )
    session_token: SecretStr | None = Field(
        default=None,
        description="session token of a temporary key pair; environment and files only",
        validation_alias=AliasChoices("S3ZIPFS_SESSION_TOKEN"),
    )
    anonymous: bool = Field(default=False, description="send unsigned requests")


CREDENTIALS: Final = (
    "profile",
    "access_key_file",
    "secret_key_file",
    "session_token_file",
    "credential_command",
    "mc_alias",
    "access_key",
    "secret_key",
    "session_token",
    "anonymous",
)
"""Settings that say as whom to ask: whoever is given one of them is given no other by default."""

SECRETS: Final = frozenset({"access_key", "secret_key", "session_token"})


class Source(ConnectionSettings):
    """A bucket or prefix, and what is other for it than for the rest of the mount."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True
    )

    url: SourceUrl = Field(description="s3://BUCKET or s3://BUCKET/PREFIX")
    name: DirectoryName | None = Field(
        default=None, description="its directory's name; else the last component of the URL"
    )


def _sources(value: Any) -> Any:
    """URLs, separated by blanks where they come as one text, as sources that say nothing more."""
    if isinstance(value, str):
        value = value.split()
    if isinstance(value, list | tuple):
        return tuple({"url": each} if isinstance(each, str) else each for each in value)
    return value


Sources = Annotated[tuple[Source, ...], BeforeValidator(_sources)]


class MountSettings(BaseModel):
    """What only a mount is told."""

    mountpoint: File = Field(default=None, description="directory to mount at")
    sources: Sources = Field(
        default=(),
        description="buckets and prefixes, each a directory where there are several; none means "
        "all buckets",
    )
    allow_other: bool = Field(
        default=False, description="let other users in, by the permissions shown"
    )
    uid: Uid = Field(
        default=None, ge=0, description="user whose the files are shown to be, by number or name"
    )
    gid: Gid = Field(
        default=None, ge=0, description="group whose the files are shown to be, by number or name"
    )
    umask: Mode = Field(
        default=None, description="octal bits to take from the permissions; else the process's own"
    )
    file_mode: Mode = Field(
        default=None, description="octal permissions of all files, in place of 0444 less umask"
    )
    dir_mode: Mode = Field(
        default=None,
        description="octal permissions of all directories, in place of 0555 less umask",
    )
    xattrs: bool = Field(
        default=False,
        description="tell key, ETag, method, checksum and offset as extended attributes (getfattr "
        "-d); ls -l asks for some and takes longer",
    )
    exec: bool = Field(default=True, description="let programs on the mount be run")
    crawl_guard: bool = Field(
        default=True,
        description="slow down, and then refuse, what opens archives one after another and reads "
        "none",
    )
    crawl_limit: int = Field(
        default=1000,
        ge=1,
        description="archives that a process may list and not read, before further ones open "
        "later; twice as many, and no further one opens for it (EACCES)",
    )
    crawlers: Patterns = Field(
        default=(),
        description="further names of programs that no archive opens for, beside those of search "
        "indexes: updatedb, Tracker, Baloo",
    )
    crawl_allow: Patterns = Field(
        default=(), description="names of programs that all archives open for"
    )
    log_file: File = Field(default=None, description="log there")
    log_format: Literal["text", "json"] = Field(
        default="text", description="lines for people (default), or a JSON object each"
    )
    metrics: Address | None = Field(
        default=None,
        description="HOST:PORT at which Prometheus (/metrics) and browsers (/) are told how the "
        "mount does; 127.0.0.1 is for the users of this machine, and nobody has to log in",
    )
    retry: float = Field(
        default=0.0,
        ge=0,
        allow_inf_nan=False,
        description="seconds for which a mount goes on asking at its start, while the endpoint is "
        "out of reach",
    )


class ReadingSettings(BaseModel):
    """What is an archive, for how long anything is waited for or believed, and all bounds."""

    # What is an archive
    archive: Patterns = Field(
        default=(), description="further name patterns that are archives, case-insensitive"
    )
    exclude: Patterns = Field(
        default=(), description="name patterns that are plain files even if they match"
    )
    encoding: str | None = Field(
        default=None,
        description="encoding of member names that do not declare theirs, as cp932; else UTF-8 "
        "of Unix hosts, or cp437",
    )
    strip_suffix: bool = Field(
        default=False, description="list x.zarr.zip as x.zarr, where no such key exists"
    )
    single_root: Literal["keep", "unwrap"] = Field(
        default="keep",
        description="where an archive holds one directory and nothing beside it: keep that "
        "directory (default), or unwrap it, which shows its content at once",
    )

    # Time
    timeout: float = Field(
        default=60.0,
        gt=0,
        allow_inf_nan=False,
        description="seconds without progress after which an operation fails",
    )
    ttl: float = Field(
        default=30.0,
        ge=0,
        allow_inf_nan=False,
        description="seconds for which a listing or a missing name is believed",
    )
    immutable: bool = Field(
        default=False,
        description="archives are never replaced: believe their names for ever. One that is "
        "replaced after all is an error to its readers",
    )

    # Bounds
    memory: Size = Field(
        default=256 << 20, ge=32 << 20, description="bytes of memory for caches and transfers"
    )
    max_requests: int = Field(default=32, ge=1, le=512, description="requests under way at once")
    max_directory_bytes: Size = Field(
        default=2 << 30, ge=1 << 16, description="largest central directory that is read"
    )

    # The disk
    cache_dir: Folder = Field(
        default_factory=default_cache_dir,
        description="directory for what outlives the process; none keeps nothing "
        "(default $XDG_CACHE_HOME/s3zipfs or ~/.cache/s3zipfs, of root /var/cache/s3zipfs)",
    )
    cache_size: BlockCacheSize = Field(
        default=None,
        ge=0,
        description="bytes of disk for what was fetched, at least 64M, or 0 for none "
        "(default 10G where a cache directory is given, else none)",
    )
    index_cache_size: Size = Field(
        default=2 << 30,
        ge=0,
        description="bytes of disk for the indexes of large archives and large deflated members",
    )

    # The log
    verbose: bool = Field(default=False, description="log more")


class Settings(MountSettings, ReadingSettings, ConnectionSettings):
    """What a mount or a filesystem is told. Frozen; durations in seconds, sizes in bytes.

    `loading` finds the values. Those of the environment are `S3ZIPFS_…` and, where they exist, the
    usual `AWS_…` variables and the names `STORAGE_ACCESS_KEY`, `STORAGE_SECRET_KEY` and
    `ENDPOINT_FULL`. As one text, patterns are separated by blanks; sizes may have a binary unit, as
    `256M`.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        validate_default=True,
        hide_input_in_errors=True,  # which may be the secret key
        loc_by_alias=False,
    )

    @property
    def archive_patterns(self) -> tuple[str, ...]:
        """The defaults and what was added to them."""
        return DEFAULT_ARCHIVES + self.archive

    @property
    def requests_in_threads(self) -> int:
        """Of `max_requests`, those that are blocking calls of threads."""
        return self.max_requests // 2

    @property
    def requests_on_loop(self) -> int:
        """Of `max_requests`, those that are coroutines of the network's loop."""
        return self.max_requests - self.requests_in_threads

    @property
    def block_cache_size(self) -> int:
        """Bytes of disk for what was fetched.

        Without being asked, a mount writes no gigabytes of data into somebody's home; and a first
        read of 1 GiB takes 1 to 2 s of CPU more where it is written down as well.
        """
        if self.cache_size is not None:
            return self.cache_size
        return DEFAULT_CACHE_SIZE if "cache_dir" in self.model_fields_set else 0

    def of(self, source: Source) -> Settings:
        """The settings of a source: its own, and else those of the mount.

        Credentials go together: where it has one of them, the mount's others are none of its.
        """
        own = {
            name: getattr(source, name)
            for name in ConnectionSettings.model_fields
            if name in source.model_fields_set
        }
        if "endpoint_url" in own and self.mc_alias is not None:
            own.setdefault("mc_alias", None)  # its keys are for no other endpoint
        if own.keys() & set(CREDENTIALS):
            defaults = {name: type(self).model_fields[name].default for name in CREDENTIALS}
            own = {**defaults, **own}
        return self.model_copy(update=own)
