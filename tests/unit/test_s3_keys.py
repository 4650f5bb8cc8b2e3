"""Keys of a machine's role: what gives them may be slow, and no process is without keys for good because of that."""

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import uuid4

import boto3
import pytest

from trygon import s3, s3_clients
from trygon.storage import read_bytes, write_bytes
from trygon.testing.s3 import asking_for_keys, using

pytestmark = pytest.mark.slow


@dataclass
class MetadataService:
    """The service on loopback that gives the keys of a machine's role, as EC2 does to who shows a token."""

    keys: dict[str, str]
    address: str = ""
    is_silent: bool = False
    num_slow: int = 0
    """So many tokens come after the client has left."""
    asked: list[str] = field(default_factory=list)


@contextmanager
def _metadata_service(keys: dict[str, str]) -> Iterator[MetadataService]:
    service = MetadataService(keys)

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            service.asked.append(self.path)
            if service.num_slow:
                service.num_slow -= 1
                time.sleep(1.3)
            self._answer(503 if service.is_silent else 200, "token")

        def do_GET(self) -> None:
            if self.headers.get("x-aws-ec2-metadata-token") != "token":
                return self._answer(401, "")
            if self.path.endswith("/security-credentials/"):
                return self._answer(200, "trygon-worker")
            over = datetime.now(UTC) + timedelta(hours=6)
            return self._answer(200, json.dumps(service.keys | {"Expiration": f"{over:%Y-%m-%dT%H:%M:%SZ}"}))

        def _answer(self, status: int, text: str) -> None:
            self.send_response_only(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """Clients leave."""

    listening = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, args=(0.05,), daemon=True).start()
    service.address = f"http://127.0.0.1:{listening.server_port}"
    try:
        yield service
    finally:
        listening.shutdown()
        listening.server_close()


def _keys_of_a_role(server: str) -> dict[str, str]:
    iam, sts = (boto3.client(name, endpoint_url=server, region_name="us-east-1") for name in ("iam", "sts"))
    name = f"worker-{uuid4().hex}"
    allowed = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=policy)["Role"]
    iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=policy)
    keys = sts.assume_role(RoleArn=role["Arn"], RoleSessionName="machine")["Credentials"]
    return {
        "AccessKeyId": keys["AccessKeyId"],
        "SecretAccessKey": keys["SecretAccessKey"],
        "Token": keys["SessionToken"],
    }


@pytest.fixture
def metadata(server: str) -> Iterator[MetadataService]:
    """A machine that has a role and no other keys, and a server that asks for keys."""
    with using(server):
        write_bytes("s3://shards/a", b"there")
        keys = _keys_of_a_role(server)
        with _metadata_service(keys) as service:
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED"):
                del os.environ[name]
            os.environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = service.address
            with asking_for_keys(server):
                yield service


def test_a_slow_answer_does_not_make_a_process_anonymous(metadata: MetadataService) -> None:
    metadata.num_slow = 1
    assert read_bytes("s3://shards/a") == b"there"
    assert len(metadata.asked) > 1


def test_a_process_that_found_no_keys_looks_again_when_it_is_denied(metadata: MetadataService) -> None:
    metadata.is_silent = True
    assert s3_clients.is_anonymous()
    metadata.is_silent = False
    assert read_bytes("s3://shards/a") == b"there"


def test_where_there_are_no_keys_that_is_said_and_not_asked_again_each_time(metadata: MetadataService) -> None:
    metadata.is_silent = True
    for _ in range(3):
        with pytest.raises(s3.DeniedError, match="no keys were found, so access was anonymous"):
            read_bytes("s3://shards/a")
    assert len(metadata.asked) == 6  # three looks at first, three when it was denied


def test_keys_that_could_not_be_renewed_in_time_are_asked_for_again(metadata: MetadataService) -> None:
    address = s3.Address.parse("s3://shards/a")
    assert s3.stat(address).bytes == 5
    # boto3 renews what is over within ten minutes, and takes no expiry from the service that would let this test wait.
    credentials = s3_clients._account().credentials()
    credentials._expiry_time = datetime.now(UTC) + timedelta(minutes=1)
    metadata.num_slow = 1
    assert s3.stat(address).bytes == 5
    assert not metadata.num_slow
