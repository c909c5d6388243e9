"""Objects in a bucket of S3, or of a server that speaks it.

Credentials come from where boto3 finds them: environment, or a service account's identity. Every request has a
    timeout and every operation a bounded number of tries. A conditional write is tried again too: "exists already"
    may then mean our own first try, which the caller tells by its nonce.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from thunderhead.standing import logger_of
from thunderhead.store import limits
from thunderhead.store.checksums import crc64nvme
from thunderhead.store.objects import Body, NotFound, ObjectInfo, Unavailable, Upload
from thunderhead.store.s3_errors import ChecksumUnsupported, OutOfRange, meaning_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")
PartTag = dict[str, Any]

logger = logger_of(__name__)

# S3 allows 10,000 parts, so this reaches 625 GiB an object.
PART_BYTES: Final = 64 * 1024 * 1024
_THREADS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long one operation may take.

    Attributes:
        connect_s: timeout of a connection.
        read_s: timeout of each read from it.
        tries: requests per operation.
        first_pause_s: pause after the first failure, doubled after each further one.
        longest_pause_s: no pause is longer.
    """

    connect_s: float = 5
    read_s: float = 30
    tries: int = 6
    first_pause_s: float = 0.2
    longest_pause_s: float = 10

    def pauses(self) -> list[float]:
        """Pauses between tries, in seconds."""
        return [min(self.longest_pause_s, self.first_pause_s * 2**i) for i in range(self.tries - 1)]


class S3Store:
    """An :class:`~thunderhead.store.objects.ObjectStore` over one bucket and prefix.

    Args:
        bucket: name of the bucket, which must exist.
        prefix: put before every key; may be empty.
        endpoint: URL of an S3-compatible server, addressed in path style; ``None``: AWS, or what the environment says.
        region: ``None``: what the environment says.
        secret: name of the Secret that a job's credentials come from, for messages.
        patience: timeouts and retries.
        part_bytes: larger objects are uploaded in parts of this size (at least 5 MiB, which S3 demands).
        sleep: waits between tries.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        endpoint: str | None = None,
        region: str | None = None,
        secret: str | None = None,
        patience: Patience | None = None,
        part_bytes: int = PART_BYTES,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._bucket = bucket
        self._secret = secret
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._patience = patience or Patience()
        self._part_bytes = part_bytes
        self._sleep = sleep
        self._client = _make_client(endpoint, region, self._patience)
        # Cleared by the first answer of a server that does not know CRC64NVME. Ours are in the manifest either way.
        self._checksummed = True

    def uri(self, key: str = "") -> str:
        return f"s3://{self._bucket}/{self._prefix}{key}".rstrip("/")

    def put(self, key: str, body: Body, *, if_none_match: bool = False) -> None:
        options: dict[str, Any] = {"IfNoneMatch": "*"} if if_none_match else {}
        if len(body) > self._part_bytes:
            assert not if_none_match, "objects written on a condition are small"
            self._checksummed_call(lambda checksummed: self._put_in_parts(key, memoryview(body).cast("B"), checksummed))
            return
        content = bytes(body)

        def request(checksummed: bool) -> None:
            checksum = _checksum(content, checksummed) | ({"ChecksumAlgorithm": "CRC64NVME"} if checksummed else {})
            arguments = {**self._address(key), **checksum, **options}
            self._call("PutObject", key, lambda: self._client.put_object(Body=content, **arguments))

        self._checksummed_call(request)

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        if length == 0:
            return b""
        end = "" if length is None else start + length - 1
        part: dict[str, Any] = {"Range": f"bytes={start}-{end}"} if start or length is not None else {}
        try:
            return self._call(
                "GetObject", key, lambda: self._client.get_object(**self._address(key), **part)["Body"].read()
            )
        except OutOfRange:
            return b""

    def size(self, key: str) -> int:
        return self._call("HeadObject", key, lambda: self._client.head_object(**self._address(key))["ContentLength"])

    def modified(self, key: str) -> float:
        """When ``key`` was last written, in Unix seconds as the server counts them.

        Raises:
            NotFound: there is no such object.
        """
        return self._call(
            "HeadObject", key, lambda: self._client.head_object(**self._address(key))["LastModified"].timestamp()
        )

    def scan(self, prefix: str = "") -> Iterator[ObjectInfo]:
        where: dict[str, Any] = {"Bucket": self._bucket, "Prefix": self._prefix + prefix}
        while True:
            page = self._call("ListObjectsV2", prefix, lambda: self._client.list_objects_v2(**where))
            for entry in page.get("Contents", []):
                yield ObjectInfo(entry["Key"].removeprefix(self._prefix), entry["Size"])
            if not page.get("IsTruncated"):
                return
            where["ContinuationToken"] = page["NextContinuationToken"]

    def delete(self, key: str) -> None:
        self._call("DeleteObject", key, lambda: self._client.delete_object(**self._address(key)))

    def uploads(self, prefix: str) -> list[Upload]:
        where: dict[str, Any] = {"Bucket": self._bucket, "Prefix": self._prefix + prefix}
        found: list[Upload] = []
        while True:
            page = self._call("ListMultipartUploads", prefix, lambda: self._client.list_multipart_uploads(**where))
            entries = page.get("Uploads", [])
            found += [Upload(entry["Key"].removeprefix(self._prefix), entry["UploadId"]) for entry in entries]
            if not page.get("IsTruncated"):
                return found
            where.update(KeyMarker=page["NextKeyMarker"], UploadIdMarker=page["NextUploadIdMarker"])

    def abandon(self, upload: Upload) -> None:
        address = self._address(upload.key)
        try:
            self._call(
                "AbortMultipartUpload",
                upload.key,
                lambda: self._client.abort_multipart_upload(**address, UploadId=upload.id),
            )
        except NotFound:
            return

    # --- uploads whose length is not known beforehand --------------------------------------------------------------

    def begin(self, key: str) -> Upload:
        """Begin an upload in parts; nothing is visible under ``key`` until it is finished."""
        begun = self._call(
            "CreateMultipartUpload", key, lambda: self._client.create_multipart_upload(**self._address(key))
        )
        return Upload(key, begun["UploadId"])

    def put_part(self, upload: Upload, number: int, content: bytes) -> PartTag:
        """Upload one part (numbered from 1; all but the last of at least 5 MiB); the server checks its MD5."""
        address = {**self._address(upload.key), "UploadId": upload.id, "PartNumber": number}
        digest = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
        answer = self._call(
            "UploadPart",
            upload.key,
            lambda: self._client.upload_part(Body=content, ContentMD5=digest, **address),
        )
        return {"PartNumber": number, "ETag": answer["ETag"]}

    def finish(self, upload: Upload, parts: list[PartTag], size: int) -> None:
        """Make the object of ``size`` bytes from its parts."""
        self._complete(upload, parts, size, {})

    def _address(self, key: str) -> dict[str, Any]:
        return {"Bucket": self._bucket, "Key": self._prefix + key}

    def _put_in_parts(self, key: str, body: memoryview, checksummed: bool) -> None:
        address = self._address(key)
        kind: dict[str, Any] = {"ChecksumAlgorithm": "CRC64NVME", "ChecksumType": "FULL_OBJECT"} if checksummed else {}
        begun = self._call(
            "CreateMultipartUpload", key, lambda: self._client.create_multipart_upload(**address, **kind)
        )
        upload = Upload(key, begun["UploadId"])
        allowed = limits.current()

        def put_part(number: int, part: memoryview) -> dict[str, Any]:
            with limits.limited(allowed):
                return self._put_part(upload, number, part, checksummed)

        try:
            starts = range(0, len(body), self._part_bytes)
            with ThreadPoolExecutor(_THREADS) as pool:
                parts = list(
                    pool.map(
                        lambda number: put_part(number + 1, body[starts[number] :][: self._part_bytes]),
                        range(len(starts)),
                    )
                )
            whole = _checksum(body, checksummed) | ({"ChecksumType": "FULL_OBJECT"} if checksummed else {})
            self._complete(upload, parts, len(body), whole)
        except BaseException:
            # Parts of an upload that nobody finishes are kept, and paid for, until it is aborted.
            self.abandon(upload)
            raise

    def _put_part(self, upload: Upload, number: int, part: memoryview, checksummed: bool) -> dict[str, Any]:
        content = bytes(part)
        checksum = _checksum(content, checksummed)
        answer = self._call(
            "UploadPart",
            upload.key,
            lambda: self._client.upload_part(
                **self._address(upload.key), UploadId=upload.id, PartNumber=number, Body=content, **checksum
            ),
        )
        return {"PartNumber": number, "ETag": answer["ETag"], **checksum}

    def _complete(self, upload: Upload, parts: list[Any], size: int, checksum: dict[str, Any]) -> None:
        try:
            self._call(
                "CompleteMultipartUpload",
                upload.key,
                lambda: self._client.complete_multipart_upload(
                    **self._address(upload.key), UploadId=upload.id, MultipartUpload={"Parts": parts}, **checksum
                ),
            )
        except NotFound:
            # A second try after a lost reply finds the upload gone, because the first one completed it.
            if self.size(upload.key) != size:
                raise

    def _checksummed_call(self, request: Callable[[bool], T]) -> T:
        """``request(True)``, and ``request(False)`` once a server has shown that it does not know the checksum."""
        if self._checksummed:
            try:
                return request(True)
            except ChecksumUnsupported as error:
                result = request(False)
                logger.warning("the server keeps no CRC64NVME, only the manifest will: %s", error)
                self._checksummed = False
                return result
        return request(False)

    def _call(self, operation: str, key: str, request: Callable[[], T]) -> T:
        """One operation: tried again while the server does not answer or says "later", with growing pauses."""
        subject = f"{operation} of {self.uri(key)} at {self._client.meta.endpoint_url}"
        allowed = limits.current()
        for tries, pause in enumerate((*self._patience.pauses(), None), start=1):
            try:
                return request()
            except (ClientError, BotoCoreError, OSError) as error:
                meaning = meaning_of(error, subject, self._secret)
                if not isinstance(meaning, Unavailable):
                    raise meaning from error
                if pause is None or not allowed.allows(tries, pause):
                    raise Unavailable(f"{meaning} (after {tries} {'tries' if tries > 1 else 'try'})") from error
                logger.info("%s; trying again in %.1f s", meaning, pause)
            self._sleep(pause)
        raise AssertionError("the last try returns or raises")


def _checksum(body: Body, checksummed: bool) -> dict[str, Any]:
    """The checksum as S3 wants it: base64 of eight bytes, most significant first."""
    if not checksummed:
        return {}
    return {"ChecksumCRC64NVME": base64.b64encode(crc64nvme(body).to_bytes(8, "big")).decode()}


def _make_client(endpoint: str | None, region: str | None, patience: Patience) -> S3Client:
    session = boto3.session.Session()
    config = Config(
        connect_timeout=patience.connect_s,
        read_timeout=patience.read_s,
        retries={"total_max_attempts": 1},
        max_pool_connections=2 * _THREADS,
        # We send the checksum ourselves and verify against the manifest; servers without any stay usable.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    # A server of one's own has no regions, but signatures need one.
    known = region or session.region_name or ("us-east-1" if endpoint else None)
    return session.client("s3", endpoint_url=endpoint, region_name=known, config=config)
