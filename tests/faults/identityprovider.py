"""An OpenID provider for one test: it says who it is, and signs tokens that a MinIO believes."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from faults.httpstub import HttpStub

CLIENT = "s3zipfs-test"


class IdentityProvider(HttpStub):
    """https://openid.net/specs/openid-connect-discovery-1_0.html; RFC 7515, 7517, 7519."""

    def __init__(self) -> None:
        super().__init__()
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        numbers = self._key.public_key().public_numbers()
        key = {
            "kty": "RSA",
            "alg": "RS256",
            "use": "sig",
            "kid": "1",
            "n": _base64(numbers.n.to_bytes(256, "big")),
            "e": _base64(numbers.e.to_bytes(3, "big")),
        }
        self.answers = {
            ("GET", "/.well-known/openid-configuration"): {
                "issuer": self.url,
                "jwks_uri": f"{self.url}/keys",
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            },
            ("GET", "/keys"): {"keys": [key]},
        }

    @property
    def variables(self) -> dict[str, str]:
        """For a MinIO that shall believe it."""
        return {
            "MINIO_IDENTITY_OPENID_CONFIG_URL": f"{self.url}/.well-known/openid-configuration",
            "MINIO_IDENTITY_OPENID_CLIENT_ID": CLIENT,
            "MINIO_IDENTITY_OPENID_CLAIM_NAME": "policy",
        }

    def token(self, policy: str) -> str:
        """A JSON web token, good for an hour, of somebody who may do what the policy says."""
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": CLIENT,
            "sub": "somebody",
            "iat": now,
            "exp": now + 3600,
            "policy": policy,
        }
        signed = f"{_json({'alg': 'RS256', 'typ': 'JWT', 'kid': '1'})}.{_json(claims)}"
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_base64(signature)}"


def _json(value: dict[str, Any]) -> str:
    return _base64(json.dumps(value).encode())


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
