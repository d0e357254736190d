"""Where keys come from: the first of these that is given.

1. `mc_alias`: what mc knows of the alias;
2. `access_key`, `secret_key`, `session_token`: keywords, variables, env file;
3. `access_key_file`, `secret_key_file`, `session_token_file`: one secret in each;
4. `credential_command`: JSON, as AWS's `credential_process` prints it;
5. without a `profile`, what systemd's `LoadCredential=` puts into `$CREDENTIALS_DIRECTORY`;
6. botocore's own chain: environment, profile, shared files, SSO, roles, containers, and EC2's
   instance metadata where it is asked for or this is an EC2 instance that reads from AWS.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from aiobotocore.credentials import AioCredentialResolver, AioProcessProvider
from aiobotocore.session import AioSession
from botocore.exceptions import BotoCoreError, CredentialRetrievalError
from botocore.loaders import Loader, create_loader
from botocore.utils import parse_timestamp

from s3zipfs.errors import SettingsError
from s3zipfs.mcaliases import Alias
from s3zipfs.secretfiles import read_secret, refuse_if_others_can_read
from s3zipfs.settings import Settings

COMMAND_SECONDS = 30.0  # for a command that prints credentials
_COMMAND = AioProcessProvider.METHOD
_EC2 = "iam-role"  # botocore's name of the provider
_VENDOR = Path("/sys/class/dmi/id/sys_vendor")  # "Amazon EC2" there, on Nitro and on bare metal
_FILES = {  # of which botocore takes keys, and the variable that names them
    "shared-credentials-file": "credentials_file",
    "config-file": "config_file",
}


def open_session(settings: Settings, alias: Alias | None) -> AioSession:
    """A session with these credentials; files are read now, nothing else is asked yet.

    Raises:
        SettingsError: the profile does not exist, half a key pair is given, or a file of secrets
            can't be read or can be by everybody.
    """
    profile = settings.profile
    if profile is not None and profile == os.environ.get("AWS_PROFILE"):
        profile = None  # botocore reads it, and then keys in the environment win, as usual
    session = AioSession(profile=profile)
    session.get_component("response_parser_factory").set_parser_defaults(
        timestamp_parser=_parse_timestamp
    )
    if settings.ca_bundle is not None:  # for those who give credentials, as STS
        session.set_config_variable("ca_bundle", str(settings.ca_bundle))
    config_variable(session, "region")  # fails here for a profile that does not exist
    session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
    keys = _of_alias(alias) if alias is not None else _given(settings) or _of_files(settings)
    if keys is None and settings.credential_command is not None:
        provider = _command_provider(settings.credential_command)
        session.register_component("credential_provider", AioCredentialResolver([provider]))
        return session
    if keys is None and settings.profile is None:
        keys = _of_systemd()
    if keys is not None:
        session.set_credentials(*keys)
    else:
        own_endpoint = settings.endpoint_url or config_of(session).get("endpoint_url")
        _adapt(session, to_aws=own_endpoint is None)
    return session


@cache
def _loader(data_path: str | None) -> Loader:
    """One for all sessions: what botocore knows of S3 takes 0.2 s to find and parse."""
    return create_loader(data_path)


async def frozen(session: AioSession) -> Any:
    """Access key, secret key and token as a tuple, or None where there are none.

    Raises:
        BotoCoreError: they could not be fetched.
    """
    found = await session.get_credentials()
    return None if found is None else await found.get_frozen_credentials()


async def check_origin(session: AioSession) -> None:
    """Raise `SettingsError` where the credentials are in a file that others can read.

    Raises:
        BotoCoreError: they could not be fetched.
    """
    found = await session.get_credentials()
    if found is not None and found.method in _FILES:
        refuse_if_others_can_read(_file_of(session, found.method), "credentials")


def _file_of(session: AioSession, method: str) -> Path:
    return Path(session.get_config_variable(_FILES[method])).expanduser()


def config_variable(session: AioSession, name: str) -> str | None:
    """What the environment, or the AWS configuration, says.

    Raises:
        SettingsError: the configuration can't be read.
    """
    try:
        value = session.get_config_variable(name)
    except BotoCoreError as error:
        raise SettingsError(f"AWS configuration: {error}") from None
    return None if value is None else str(value)


# --- keys that are there ------------------------------------------------------------------------

Keys = tuple[str, str, str | None]


def _given(settings: Settings) -> Keys | None:
    key, secret, token = settings.access_key, settings.secret_key, settings.session_token
    if (key is None) != (secret is None):
        missing = "secret_key" if secret is None else "access_key"
        raise SettingsError(f"{missing}: not given, but the other half of the key pair is")
    if key is None or secret is None:
        return None
    return (
        key.get_secret_value(),
        secret.get_secret_value(),
        token.get_secret_value() if token is not None else None,
    )


def _of_alias(alias: Alias) -> Keys | None:
    if not alias.access_key:  # requests are unsigned then
        return None
    return alias.access_key, alias.secret_key, alias.session_token or None


def _of_files(settings: Settings) -> Keys | None:
    key, secret, token = (
        settings.access_key_file,
        settings.secret_key_file,
        settings.session_token_file,
    )
    if (key is None) != (secret is None):
        missing = "secret_key_file" if secret is None else "access_key_file"
        raise SettingsError(f"{missing}: not given, but the other half of the key pair is")
    if key is None or secret is None:
        return None
    return (
        read_secret(key, "access_key_file"),
        read_secret(secret, "secret_key_file"),
        None if token is None else read_secret(token, "session_token_file"),
    )


def _of_systemd() -> Keys | None:
    # https://www.freedesktop.org/software/systemd/man/systemd.exec.html#Credentials
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder or not (Path(folder) / "access_key").exists():
        return None
    key, secret, token = (
        Path(folder) / name for name in ("access_key", "secret_key", "session_token")
    )
    return (
        read_secret(key, "access_key"),
        read_secret(secret, "secret_key"),
        read_secret(token, "session_token") if token.exists() else None,
    )


# --- what prints keys, or is asked for them -----------------------------------------------------


def _adapt(session: AioSession, *, to_aws: bool) -> None:
    """The chain of botocore, without what hangs, tells too much or was not asked for."""
    chain = session.get_component("credential_provider")
    command = config_of(session).get("credential_process")
    if command is not None:
        chain.insert_before(_COMMAND, _command_provider(command))
    if not _asks_ec2(to_aws=to_aws):
        # Off EC2 the question alone takes seconds; and a role's credentials are AWS's business,
        # not to be sent to any endpoint without being asked for.
        chain.remove(_EC2)


def config_of(session: AioSession) -> dict[str, Any]:
    """The profile's part of the AWS configuration."""
    found: dict[str, Any] = session.get_scoped_config()
    return found


def _asks_ec2(*, to_aws: bool) -> bool:
    disabled = os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower()
    if disabled in {"true", "false"}:
        return disabled == "false"
    if os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT"):
        return True
    try:
        return to_aws and _VENDOR.read_text(encoding="ascii").strip() == "Amazon EC2"
    except (OSError, UnicodeDecodeError):
        return False


def _command_provider(command: str) -> AioProcessProvider:
    """That of botocore, with a deadline, and without a word of what the command printed."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise SettingsError(f"credential_command: {error}") from None
    if not words:
        raise SettingsError("credential_command: is empty")
    if "/" in words[0] and not words[0].startswith("/"):  # a mount leaves the directory
        raise SettingsError(f"credential_command: {words[0]}: give all of its path")
    return _CommandProvider(
        profile_name="", load_config=lambda: {"profiles": {"": {"credential_process": command}}}
    )


class _CommandProvider(AioProcessProvider):  # type: ignore[misc]  # botocore has no types
    def __init__(self, **options: Any) -> None:
        super().__init__(**options, popen=_run)

    async def _retrieve_credentials_using(self, credential_process: str) -> Any:
        name = shlex.split(credential_process)[0]
        try:
            found = await super()._retrieve_credentials_using(credential_process)
            expires = found["expiry_time"]
            has_expired = expires is not None and parse_timestamp(expires) <= datetime.now(UTC)
        except (ValueError, TypeError, AttributeError):
            raise _failed(name, "does not print what credential_process prints") from None
        if has_expired:
            raise _failed(name, "prints credentials that have expired")
        return found


def _failed(name: str, how: str) -> CredentialRetrievalError:
    return CredentialRetrievalError(provider=_COMMAND, error_msg=f"{name} {how}")


class _Printed:
    """What a command that has ended printed, as botocore asks a process for it."""

    returncode = 0

    def __init__(self, output: bytes) -> None:
        self._output = output

    async def communicate(self) -> tuple[bytes, bytes]:
        return self._output, b""


async def _run(name: str, *arguments: str, **pipes: Any) -> _Printed:
    """Raises `CredentialRetrievalError` where it can't be run, fails, or takes too long."""
    try:
        process = await asyncio.create_subprocess_exec(
            name, *arguments, stdin=asyncio.subprocess.DEVNULL, start_new_session=True, **pipes
        )
    except OSError as error:
        raise _failed(name, f"can't be run: {error.strerror}") from None
    try:
        async with asyncio.timeout(COMMAND_SECONDS):
            output, _ = await process.communicate()
    except TimeoutError:
        raise _failed(name, f"has not ended within {COMMAND_SECONDS:g} s") from None
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)  # with all that it has started
            await process.wait()
    if process.returncode != 0:  # its words may be secrets
        raise _failed(name, f"ended with status {process.returncode}; run it to see why")
    return _Printed(output)


def _parse_timestamp(value: str) -> datetime:
    # botocore's own, by dateutil, takes 30 of the 56 ms for which a page of 1,000 keys holds the
    # network loop (measured).
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        parsed: datetime = parse_timestamp(value)
        return parsed
