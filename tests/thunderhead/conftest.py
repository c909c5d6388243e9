"""Fixtures of the trainer's tests; the modules ``trainer_*`` beside this file are their harness."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from thunderhead import warning
from thunderhead.distributed.leave import destroy_groups

sys.path.insert(0, str(Path(__file__).parent))

BUCKET = "checkpoints"


@pytest.fixture(autouse=True)
def _one_thread_in_an_empty_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[None]:
    """Files that a Trainer writes by default go to the test's own directory; no test sees another's seed or words."""
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO, "thunderhead")
    warning._said.clear()
    before = dict(os.environ)
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS", "RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    if torch.distributed.is_initialized():  # also of a run that ended with an error, after which it is not left
        destroy_groups()
    torch.set_num_threads(threads)
    # A Trainer tells where ranks meet on in the environment, and the next one's would wait there for ever.
    for name in set(os.environ) - set(before):
        del os.environ[name]


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """URL of an S3 server in this process; it accepts any credentials."""
    from moto.server import ThreadedMotoServer  # half a second, which tests without S3 need not pay

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_endpoint(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The server with credentials in the environment and one empty bucket, ``checkpoints``."""
    import boto3

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    client = boto3.client("s3", endpoint_url=s3_server, region_name="us-east-1")
    client.create_bucket(Bucket=BUCKET)
    yield s3_server
    for entry in client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        client.delete_object(Bucket=BUCKET, Key=entry["Key"])
    for upload in client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []):
        client.abort_multipart_upload(Bucket=BUCKET, Key=upload["Key"], UploadId=upload["UploadId"])
    client.delete_bucket(Bucket=BUCKET)
    client.close()


@pytest.fixture
def bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """``s3://checkpoints``, reached as a user's script reaches it: by the environment."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return f"s3://{BUCKET}"
