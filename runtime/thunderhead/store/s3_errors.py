"""What an error of boto3 means for us: missing, taken, refused for good, or worth another try."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    TokenRetrievalError,
)

from thunderhead.job.errors import StorageRefused
from thunderhead.store.objects import NotFound, PreconditionFailed, StoreError, Unavailable

_MISSING: Final = {"NoSuchKey", "NoSuchUpload", "NotFound", "404"}
_TAKEN: Final = {"PreconditionFailed", "412"}
_OUT_OF_RANGE: Final = {"InvalidRange", "416"}
# Denials that time heals: throttling, a conflicting conditional write in flight, a body damaged on its way.
_TRY_AGAIN: Final = {
    *("SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "TooManyRequests", "429"),
    *("ConditionalRequestConflict", "OperationAborted", "409"),
    *("BadDigest", "XAmzContentChecksumMismatch", "IncompleteBody"),
}
# Also those who have no job read these: a script that writes to a bucket, and whoever verifies checkpoints by hand.
_REGION_REMEDY: Final = "name the bucket's region by AWS_DEFAULT_REGION or --region (in a job: checkpoint.s3.region)"
_REMEDIES: Final[Mapping[str, str]] = {
    "AccessDenied": "grant {credentials} s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket there",
    "403": "grant {credentials} s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket there",
    "SignatureDoesNotMatch": "the secret access key is wrong; correct {credentials}",
    "InvalidAccessKeyId": "the server does not know this access key; correct {credentials}",
    "ExpiredToken": "the session token has expired; renew {credentials}, or use an identity that renews itself",
    "NoSuchBucket": "create the bucket, or correct its name (in a job: checkpoint.uri)",
    "InvalidBucketName": "correct the bucket's name (in a job: checkpoint.uri)",
    "PermanentRedirect": _REGION_REMEDY,
    "AuthorizationHeaderMalformed": _REGION_REMEDY,
    "RequestTimeTooSkewed": "correct the clock of this machine",
    "NotImplemented": "use a server that supports conditional writes and multipart uploads",
}
_NO_CREDENTIALS_REMEDY: Final = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE (in a job: checkpoint.s3.credentialsSecretName, "
    "or an identity of the pod's service account)"
)
_OTHER_REMEDY: Final = "correct bucket, endpoint, region or credentials (in a job: checkpoint.uri and checkpoint.s3)"


class OutOfRange(StoreError):
    """A range that begins at or after the end of the object."""


class ChecksumUnsupported(StorageRefused):
    """Perhaps the server only does not know the checksum that we sent."""


def meaning_of(error: Exception, subject: str, secret: str | None = None) -> Exception:
    """The error to raise for ``error``; an :class:`Unavailable` is worth another try.

    Args:
        error: from boto3, or from the socket below it.
        subject: operation, address and endpoint, for the message.
        secret: name of the Secret that the credentials come from, where it is known.
    """
    if isinstance(error, ClientError):
        return _meaning_of_answer(error, subject, secret)
    if isinstance(error, NoCredentialsError | PartialCredentialsError | CredentialRetrievalError | TokenRetrievalError):
        filled = f"put AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY into the Secret {secret!r}"
        return StorageRefused(f"{subject}: {error}; {_NO_CREDENTIALS_REMEDY if secret is None else filled}")
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return StorageRefused(f"{subject}: {error}; name the file with the server's CA by AWS_CA_BUNDLE")
    # No answer, or one that broke off.
    if isinstance(error, ConnectionError | HTTPClientError | OSError) or "IncompleteRead" in type(error).__name__:
        return Unavailable(f"{subject}: {error}")
    if isinstance(error, BotoCoreError):
        return StorageRefused(f"{subject}: {error}")
    return error


def _naming(remedy: str, secret: str | None) -> str:
    named = "these credentials" if secret is None else f"the credentials in the Secret {secret!r}"
    return remedy.replace("{credentials}", named)


def _meaning_of_answer(error: ClientError, subject: str, secret: str | None) -> Exception:
    code = str(error.response.get("Error", {}).get("Code", ""))
    text = error.response.get("Error", {}).get("Message", "")
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    message = f"{subject}: {code} ({status}) {text}".rstrip()
    if code in _MISSING:
        return NotFound(message)
    if code in _TAKEN:
        return PreconditionFailed(message)
    if code in _OUT_OF_RANGE:
        return OutOfRange(message)
    if code in _TRY_AGAIN or status == 429 or (status >= 500 and status != 501):
        return Unavailable(message)
    refusal = f"{message}; {_naming(_REMEDIES.get(code, _OTHER_REMEDY), secret)}"
    if status in (400, 501) and ("checksum" in text.lower() or code == "NotImplemented"):
        return ChecksumUnsupported(refusal)
    return StorageRefused(refusal)
