"""What only a server can do to us: refusals told at once, silence outlasted within bounds, uploads in parts."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    IncompleteReadError,
    NoCredentialsError,
    ParamValidationError,
    ReadTimeoutError,
    ResponseStreamingError,
    SSLError,
)

from thunderhead.job.errors import StorageRefused
from thunderhead.store.checksums import crc64nvme
from thunderhead.store.limits import Limit, limited
from thunderhead.store.objects import NotFound, PreconditionFailed, Unavailable, Upload
from thunderhead.store.s3 import Patience, S3Store
from thunderhead.store.s3_errors import ChecksumUnsupported, OutOfRange, meaning_of

MIB = 1024 * 1024


def answer(status: int, code: str, message: str = "") -> ClientError:
    response: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "PutObject")


@pytest.mark.parametrize(
    ("error", "meaning", "says"),
    [
        (answer(404, "NoSuchKey"), NotFound, "NoSuchKey"),
        (answer(404, "404"), NotFound, "404"),
        (answer(404, "NoSuchUpload"), NotFound, ""),
        (answer(412, "PreconditionFailed"), PreconditionFailed, ""),
        (answer(416, "InvalidRange"), OutOfRange, ""),
        (answer(409, "ConditionalRequestConflict"), Unavailable, ""),
        (answer(503, "SlowDown"), Unavailable, ""),
        (answer(500, "InternalError"), Unavailable, ""),
        (answer(502, "502"), Unavailable, ""),
        (answer(429, "TooManyRequests"), Unavailable, ""),
        (answer(400, "RequestTimeout"), Unavailable, ""),
        (answer(400, "BadDigest"), Unavailable, ""),
        (answer(501, "NotImplemented"), ChecksumUnsupported, ""),
        (answer(400, "InvalidRequest", "Checksum algorithm provided is unsupported"), ChecksumUnsupported, ""),
        (answer(403, "AccessDenied"), StorageRefused, "grant these credentials s3:GetObject"),
        (answer(403, "SignatureDoesNotMatch"), StorageRefused, "secret access key is wrong"),
        (answer(403, "InvalidAccessKeyId"), StorageRefused, "does not know this access key"),
        (answer(403, "RequestTimeTooSkewed"), StorageRefused, "clock"),
        (answer(400, "ExpiredToken"), StorageRefused, "expired"),
        (answer(404, "NoSuchBucket"), StorageRefused, "create the bucket"),
        (
            answer(301, "PermanentRedirect"),
            StorageRefused,
            r"AWS_DEFAULT_REGION or --region (in a job: checkpoint.s3.region)",
        ),
        (
            answer(400, "Whatever"),
            StorageRefused,
            "correct bucket, endpoint, region or credentials (in a job: checkpoint.uri",
        ),
        (
            NoCredentialsError(),
            StorageRefused,
            "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE (in a job: checkpoint.s3.credentialsSecretName",
        ),
        (ParamValidationError(report="Invalid bucket name"), StorageRefused, "Invalid bucket name"),
        (SSLError(endpoint_url="u", error="CERTIFICATE_VERIFY_FAILED"), StorageRefused, "AWS_CA_BUNDLE"),
        (SSLError(endpoint_url="u", error="EOF"), Unavailable, ""),
        (EndpointConnectionError(endpoint_url="u"), Unavailable, ""),
        (ConnectTimeoutError(endpoint_url="u"), Unavailable, ""),
        (ReadTimeoutError(endpoint_url="u"), Unavailable, ""),
        (ResponseStreamingError(error="broke off"), Unavailable, ""),
        (IncompleteReadError(actual_bytes=1, expected_bytes=2), Unavailable, ""),
        (ConnectionResetError(104, "reset"), Unavailable, ""),
    ],
    ids=lambda value: str(value)[:60],
)
def test_meaning(error: Exception, meaning: type[Exception], says: str) -> None:
    found = meaning_of(error, "PutObject of s3://bucket/key at http://server")
    assert type(found) is meaning
    assert str(found).startswith("PutObject of s3://bucket/key at http://server")
    assert says in str(found)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (answer(403, "AccessDenied"), "grant the credentials in the Secret 'keys' s3:GetObject"),
        (answer(403, "403"), "grant the credentials in the Secret 'keys' s3:GetObject"),
        (answer(403, "SignatureDoesNotMatch"), "correct the credentials in the Secret 'keys'"),
        (answer(403, "InvalidAccessKeyId"), "correct the credentials in the Secret 'keys'"),
        (answer(400, "ExpiredToken"), "renew the credentials in the Secret 'keys'"),
        (NoCredentialsError(), "put AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY into the Secret 'keys'"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_refusal_names_the_secret(error: Exception, says: str) -> None:
    found = meaning_of(error, "PutObject of s3://bucket/key at http://server", "keys")
    assert isinstance(found, StorageRefused)
    assert says in str(found)


class Script:
    """Stands between a store and its client: raises what it is told, then lets calls through."""

    def __init__(self, store: S3Store, operation: str, errors: list[Exception], *, after: bool = False) -> None:
        self.calls = 0
        self._errors = errors
        self._after = after
        self._call: Callable[..., Any] = getattr(store._client, operation)
        setattr(store._client, operation, self)

    def __call__(self, **arguments: Any) -> Any:
        self.calls += 1
        if not self._errors:
            return self._call(**arguments)
        if self._after:
            self._call(**arguments)
        raise self._errors.pop(0)


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def store(s3_endpoint: str, pauses: list[float]) -> Iterator[S3Store]:
    store = S3Store("checkpoints", "job", endpoint=s3_endpoint, part_bytes=5 * MIB, sleep=pauses.append)
    yield store
    store._client.close()


def test_silence_is_outlasted_with_growing_pauses(store: S3Store, pauses: list[float]) -> None:
    script = Script(store, "put_object", [EndpointConnectionError(endpoint_url="u"), answer(503, "SlowDown")])
    store.put("k", b"x")
    assert script.calls == 3
    assert pauses == [0.2, 0.4]
    assert store.get("k") == b"x"


def test_patience_ends(store: S3Store, pauses: list[float]) -> None:
    script = Script(store, "get_object", [answer(500, "InternalError")] * 99)
    with pytest.raises(Unavailable, match=r"GetObject of s3://checkpoints/job/k at http://.*\(after 6 tries\)"):
        store.get("k")
    assert script.calls == 6
    assert pauses == [0.2, 0.4, 0.8, 1.6, 3.2]
    assert Patience(tries=9).pauses()[-2:] == [10, 10]


def test_who_may_do_without_tries_twice_at_most(store: S3Store, pauses: list[float]) -> None:
    script = Script(store, "put_object", [answer(503, "SlowDown")] * 99)
    with limited(Limit(tries=2)), pytest.raises(Unavailable, match=r"\(after 2 tries\)"):
        store.put("k", b"x")
    assert (script.calls, pauses) == (2, [0.2])


def test_the_parts_of_an_upload_have_the_same_limit(store: S3Store, pauses: list[float]) -> None:
    script = Script(store, "upload_part", [answer(503, "SlowDown")] * 99)
    with limited(Limit(tries=1)), pytest.raises(Unavailable, match=r"\(after 1 try\)"):
        store.put("k", bytes(11 * MIB))
    assert (script.calls <= 3, pauses) == (True, [])


@pytest.mark.parametrize(("seconds", "tries"), [(0.1, 1), (0.5, 2), (1.0, 3), (1e9, 6)])
def test_no_try_begins_after_its_time(store: S3Store, pauses: list[float], seconds: float, tries: int) -> None:
    script = Script(store, "put_object", [answer(503, "SlowDown")] * 99)
    limit = Limit(over_after=lambda pause_s: sum(pauses) + pause_s >= seconds)
    with limited(limit), pytest.raises(Unavailable, match=rf"\(after {tries} tr(y|ies)\)"):
        store.put("k", b"x")
    assert script.calls == tries
    assert sum(pauses) <= seconds


def test_a_refusal_is_not_tried_again(store: S3Store, pauses: list[float]) -> None:
    script = Script(store, "list_objects_v2", [answer(403, "AccessDenied", "no")])
    with pytest.raises(StorageRefused, match=r"ListObjectsV2 of s3://checkpoints/job/steps at http://.*AccessDenied"):
        list(store.scan("steps/"))
    assert (script.calls, pauses) == (1, [])


def test_after_a_lost_reply_a_conditional_put_finds_its_own_object(store: S3Store) -> None:
    Script(store, "put_object", [ReadTimeoutError(endpoint_url="u")], after=True)
    with pytest.raises(PreconditionFailed):
        store.put("claim", b"mine", if_none_match=True)
    assert store.get("claim") == b"mine"


def test_a_missing_bucket_is_refused_whatever_one_asks(s3_endpoint: str) -> None:
    store = S3Store("no-such-bucket", endpoint=s3_endpoint)
    for action in (
        lambda: store.put("k", b"x", if_none_match=True),
        lambda: store.get("k"),
        lambda: list(store.scan()),
        lambda: store.uploads(""),
    ):
        with pytest.raises(
            StorageRefused,
            match=r"s3://no-such-bucket.*create the bucket, or correct its name \(in a job: checkpoint\.uri",
        ):
            action()


def test_without_credentials_it_is_refused_and_says_where_to_put_them(
    s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, os.devnull)
    with pytest.raises(
        StorageRefused, match=r"set AWS_ACCESS_KEY_ID .*in a job: checkpoint\.s3\.credentialsSecretName"
    ):
        S3Store("checkpoints", endpoint=s3_endpoint).put("k", b"x")


def test_a_server_that_is_not_there_is_unavailable_within_the_bound() -> None:
    store = S3Store("checkpoints", endpoint="http://127.0.0.1:1", patience=Patience(tries=2, first_pause_s=0))
    os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")
    store._client._request_signer._credentials = boto3.Session("key", "secret").get_credentials()
    with pytest.raises(Unavailable, match=r"at http://127.0.0.1:1: .*\(after 2 tries\)"):
        store.get("k")


def test_the_server_keeps_the_checksum_of_what_it_was_sent(store: S3Store) -> None:
    for key, body in (("small", b"123456789"), ("large", os.urandom(12 * MIB))):
        store.put(key, body)
        head = store._client.head_object(Bucket="checkpoints", Key=f"job/{key}", ChecksumMode="ENABLED")
        assert int.from_bytes(base64.b64decode(head["ChecksumCRC64NVME"]), "big") == crc64nvme(body)


def test_a_server_without_the_checksum_gets_objects_without(store: S3Store, pauses: list[float]) -> None:
    script = Script(store, "put_object", [answer(501, "NotImplemented", "CRC64NVME")])
    store.put("a", b"x")
    store.put("b", b"y")
    assert (script.calls, pauses) == (3, [])
    assert (store.get("a"), store.get("b")) == (b"x", b"y")
    store.put("large", bytes(6 * MIB))
    assert store.size("large") == 6 * MIB


def test_a_refusal_that_only_looks_like_the_checksum_stays_one(store: S3Store) -> None:
    """A server that knows no conditional writes answers 501 with and without a checksum."""
    Script(store, "put_object", [answer(501, "NotImplemented"), answer(501, "NotImplemented")])
    with pytest.raises(StorageRefused, match="supports conditional writes"):
        store.put("claim", b"x", if_none_match=True)


def test_a_large_object_goes_in_parts_and_comes_back(store: S3Store) -> None:
    body = os.urandom(11 * MIB + 3)
    script = Script(store, "upload_part", [answer(503, "SlowDown")])
    store.put("large", memoryview(body))
    assert script.calls == 4
    assert store.get("large") == body
    assert store.get("large", start=5 * MIB - 2, length=4) == body[5 * MIB - 2 : 5 * MIB + 2]
    assert store.uploads("") == []


def test_a_failed_upload_in_parts_is_abandoned(store: S3Store) -> None:
    Script(store, "upload_part", [answer(403, "AccessDenied")] * 3)
    with pytest.raises(StorageRefused):
        store.put("large", bytes(11 * MIB))
    assert store.uploads("") == []
    with pytest.raises(NotFound):
        store.get("large")


def test_a_lost_reply_to_the_last_request_of_an_upload_does_not_lose_it(store: S3Store) -> None:
    Script(store, "complete_multipart_upload", [ReadTimeoutError(endpoint_url="u")], after=True)
    store.put("large", bytes(6 * MIB))
    assert store.size("large") == 6 * MIB


def test_an_upload_that_a_crash_left_is_listed_and_abandoned(store: S3Store) -> None:
    left = store._client.create_multipart_upload(Bucket="checkpoints", Key="job/shards/1/x")["UploadId"]
    assert store.uploads("shards/") == [Upload("shards/1/x", left)]
    assert store.uploads("steps/") == []
    store.abandon(Upload("shards/1/x", left))
    store.abandon(Upload("shards/1/x", left))
    assert store.uploads("") == []


def test_a_long_listing_is_read_page_by_page(store: S3Store) -> None:
    for number in range(5):
        store.put(f"k{number}", b"")
    plain = store._client.list_objects_v2
    store._client.list_objects_v2 = lambda **arguments: plain(**arguments, MaxKeys=2)
    assert [info.key for info in store.scan()] == [f"k{number}" for number in range(5)]
