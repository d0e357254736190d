"""Access keys that a MinIO can be told to forget, by its administration's API."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import urllib.request
from urllib.parse import urlencode

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from faults.roles import Role
from s3server import S3Server

_PBKDF2_AES_GCM = 2  # madmin-go's number of the cipher


def add_service_account(server: S3Server, name: str) -> Role:
    """New keys for all that the server's administrator may do; they have no token."""
    role = Role(f"{name}{os.urandom(4).hex()}".upper(), os.urandom(20).hex(), "")
    wanted = {"accessKey": role.access_key, "secretKey": role.secret_key}
    body = _encrypted(json.dumps(wanted).encode(), server.secret_key)
    _ask(server, "PUT", "add-service-account", body=body)
    return role


def remove_service_account(server: S3Server, role: Role) -> None:
    """The store does not know its keys from now on."""
    _ask(server, "DELETE", "delete-service-account", accessKey=role.access_key)


def _ask(server: S3Server, method: str, verb: str, *, body: bytes = b"", **query: str) -> None:
    url = f"{server.endpoint}/minio/admin/v3/{verb}?{urlencode(query)}"
    signed = AWSRequest(method, url, data=body)
    keys = Credentials(server.access_key, server.secret_key)
    S3SigV4Auth(keys, "s3", "us-east-1").add_auth(signed)
    request = urllib.request.Request(url, body, dict(signed.headers), method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status in {200, 204}


def _encrypted(data: bytes, password: str) -> bytes:
    """As madmin-go's EncryptData has it: salt, cipher, nonce, and one last package of sio-go's."""
    salt, nonce = os.urandom(32), os.urandom(8)
    cipher = AESGCM(hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 8192, 32))
    tag = cipher.encrypt(nonce + struct.pack("<I", 0), b"", None)
    package = cipher.encrypt(nonce + struct.pack("<I", 1), data, b"\x80" + tag)
    return salt + bytes([_PBKDF2_AES_GCM]) + nonce + package
