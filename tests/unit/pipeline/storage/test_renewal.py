"""Credentials that expire while files are read, listed and written; a real server, no Ray."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import s3fs

from pipeline.rows.errors import ConfigError, InputError, StorageError
from pipeline.sources import list_input
from pipeline.storage.atomic_write import put
from pipeline.storage.files import filesystem, open_input, retry_of
from pipeline.storage.renewal import is_expired, renewal_of
from pipeline.storage.store import Store
from pipeline.storage.walk import exists, ls
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.s3_server import S3Server, s3_server

DATA = bytes(range(256)) * 4096


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as server:
        server.put("s3://tokens/data", DATA)
        yield server


@pytest.fixture
def proxy(server: S3Server) -> Iterator[FaultProxy]:
    with fault_proxy(server, 0.0) as proxy:
        yield proxy


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of AWS credentials, and nothing else that the chain could find."""
    path = tmp_path / "credentials"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    rotate(path, "first")
    return path


def rotate(path: Path, key: str) -> None:
    """As a cluster's agent does: another key and token in the same file."""
    lines = f"aws_access_key_id={key}\naws_secret_access_key=s\naws_session_token=t-{key}\n"
    path.write_text(f"[default]\n{lines}")


def options(proxy: FaultProxy) -> dict[str, Any]:
    return {"endpoint_url": proxy.url}


def test_a_read_goes_on_with_the_new_token(proxy: FaultProxy, credentials: Path) -> None:
    proxy.valid_key = "first"
    with open_input("s3://tokens/data", options(proxy)) as file:
        found = file.read(1000)
        file._drop()  # As after a broken connection: the next read opens the file again.
        rotate(credentials, "second")
        proxy.valid_key = "second"
        assert found + file.read() == DATA


def test_listing_and_writing_go_on_with_the_new_token(proxy: FaultProxy, credentials: Path) -> None:
    fs, root = filesystem("s3://tokens", options(proxy))
    steps = {
        "one": lambda: put(fs, f"{root}/out/0", b"x"),
        "two": lambda: ls(fs, f"{root}/out"),
        "three": lambda: exists(fs, f"{root}/out/0"),  # A HEAD, whose answer has no code.
    }
    for key, step in steps.items():
        step()
        rotate(credentials, key)
        proxy.valid_key = key
        step()
    assert exists(fs, f"{root}/out/0")


def test_a_token_that_comes_late_is_waited_for(proxy: FaultProxy, credentials: Path) -> None:
    fs, root = filesystem("s3://tokens", options(proxy))
    assert exists(fs, f"{root}/data")
    proxy.valid_key = "late"
    timer = threading.Timer(0.7, rotate, (credentials, "late"))
    timer.start()
    try:
        assert [info["size"] for info in ls(fs, f"{root}/data")] == [len(DATA)]
    finally:
        timer.cancel()


def test_credentials_that_were_given_are_not_looked_for_again(
    proxy: FaultProxy, credentials: Path
) -> None:
    proxy.valid_key = "second"
    rotate(credentials, "second")
    fs, root = filesystem("s3://tokens", options(proxy) | {"key": "mine", "secret": "s"})
    assert renewal_of(fs) is None
    with pytest.raises(PermissionError) as told:
        retry_of(fs)(lambda: fs.ls(root, refresh=True))
    assert is_expired(told.value)


def test_a_refusal_of_other_kinds_is_believed_at_once(credentials: Path) -> None:
    fs, _ = filesystem("s3://tokens", {"endpoint_url": "http://127.0.0.1:9"})
    renewal = renewal_of(fs)
    assert renewal is not None
    assert not renewal.helps(PermissionError("no"))
    assert not renewal.helps(FileNotFoundError())


def test_a_missing_bucket_is_told_from_an_empty_one(server: S3Server) -> None:
    given = server.storage_options
    for url in ("s3://nosuchbucket/a/*.tar", "s3://nosuchbucket/a", "s3://nosuchbucket/a/b.tar"):
        with pytest.raises(InputError, match="there is no bucket 'nosuchbucket', or these cred"):
            list_input([url], storage_options=given)
    with pytest.raises(InputError, match=r"nothing matches s3://tokens/none/\*\.tar"):
        list_input(["s3://tokens/none/*.tar"], storage_options=given)


@pytest.mark.parametrize(
    ("url", "extra"), [("gs://b/x", "gcs"), ("abfs://c/x", "azure"), ("az://c/x", "azure")]
)
def test_what_is_not_installed_is_named(url: str, extra: str) -> None:
    """Neither package is among this project's own requirements."""
    told = rf"is not installed: pip install 'hired-batch\[{extra}\]'$"
    with pytest.raises(InputError, match=told):
        list_input([url], storage_options={})
    with pytest.raises(ConfigError, match=told):
        Store(url=url).names("captions")
    with pytest.raises((InputError, StorageError), match=told):
        open_input(url, {})
