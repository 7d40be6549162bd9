"""A server that answers as the Hugging Face Hub does, as far as a dataset's files are read."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

__all__ = ["HubServer", "hub_server"]

COMMIT = "c" * 40


class HubServer(ThreadingHTTPServer):
    """Files of datasets by repository, revision and path.

    Attributes:
        files: as {"me/pictures": {"main": {"a.parquet": b"..."}}}.
        token: that requests must carry; None for a public Hub.
        asked: methods and paths of requests.
    """

    daemon_threads = True

    def __init__(self, files: Mapping[str, Mapping[str, Mapping[str, bytes]]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.token: str | None = None
        self.asked: list[str] = []

    @property
    def storage_options(self) -> dict[str, Any]:
        return {"endpoint": f"http://127.0.0.1:{self.server_port}", "skip_instance_cache": True}


@contextlib.contextmanager
def hub_server(files: Mapping[str, Mapping[str, Mapping[str, bytes]]]) -> Iterator[HubServer]:
    """A Hub that lives as long as the block."""
    server = HubServer(files)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def do_GET(self) -> None:
        self._answer_for(body=True)

    def do_HEAD(self) -> None:
        self._answer_for(body=False)

    def do_POST(self) -> None:
        """What is at some paths."""
        wanted = self.rfile.read(int(self.headers["Content-Length"])).decode()
        files = self._files(urlsplit(self.path).path.split("/")[3:])
        paths = _paths_of(wanted, self.headers["Content-Type"] or "")
        found = [e for e in _entries(files or {}, "", recursive=True) if e["path"] in paths]
        self._send(200, json.dumps(found).encode())

    def _answer_for(self, *, body: bool) -> None:
        path = urlsplit(self.path).path
        self.server.asked.append(f"{self.command} {path}")
        parts = [unquote(part) for part in path.strip("/").split("/")]
        token = self.server.token
        if token is not None and self.headers["Authorization"] != f"Bearer {token}":
            self._send(401, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif parts[:2] == ["api", "datasets"]:
            self._api(parts[2:])
        else:
            self._file(parts, body=body)

    def _api(self, parts: list[str]) -> None:
        files = self._files(parts)
        if files is None:
            code = (
                "RevisionNotFound" if "/".join(parts[:2]) in self.server.files else "RepoNotFound"
            )
            self._send(404, b"{}", {"X-Error-Code": code})
        elif parts[2:3] == ["tree"]:
            below = "/".join(parts[4:])
            recursive = "recursive=true" in self.path.lower()
            entries = _entries(files, below, recursive=recursive)
            missing = bool(below) and not entries
            header = {"X-Error-Code": "EntryNotFound"} if missing else {}
            self._send(404 if missing else 200, json.dumps(entries).encode(), header)
        else:
            name = "/".join(parts[:2])
            self._send(200, json.dumps({"id": name, "sha": COMMIT, "siblings": []}).encode())

    def _files(self, parts: list[str]) -> Mapping[str, bytes] | None:
        """Of .../NAME/{tree,revision,paths-info}/REVISION, or of NAME alone."""
        parts = [unquote(part) for part in parts]
        repository = self.server.files.get("/".join(parts[:2]), {})
        return repository.get(parts[3] if len(parts) > 3 else "main")

    def _file(self, parts: list[str], *, body: bool) -> None:
        """/datasets/NAME/resolve/REVISION/PATH"""
        files = self._files(parts[1:]) or {}
        data = files.get("/".join(parts[5:]))
        if data is None:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        asked = (self.headers["Range"] or "").removeprefix("bytes=")
        start, _, end = asked.partition("-")
        part = data[int(start or 0) : int(end) + 1 if end else None]
        headers = {"ETag": '"e"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if asked:
            headers["Content-Range"] = (
                f"bytes {int(start)}-{int(start) + len(part) - 1}/{len(data)}"
            )
        self._send(206 if asked else 200, part, headers, body=body)

    def _send(
        self,
        status: int,
        data: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        body: bool = True,
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _paths_of(body: str, kind: str) -> set[str]:
    if "json" in kind:
        return set(json.loads(body)["paths"])
    pairs = (pair.partition("=") for pair in body.split("&"))
    return {unquote(value.replace("+", " ")) for name, _, value in pairs if name == "paths"}


def _entries(files: Mapping[str, bytes], below: str, *, recursive: bool) -> list[dict[str, Any]]:
    """Files and folders below a folder."""
    prefix = f"{below}/" if below else ""
    found: dict[str, dict[str, Any]] = {}
    for path, data in files.items():
        if not path.startswith(prefix):
            continue
        folders = path[len(prefix) :].split("/")[:-1]
        for depth in range(len(folders) if recursive else min(1, len(folders))):
            folder = prefix + "/".join(folders[: depth + 1])
            found[folder] = {"type": "directory", "path": folder, "oid": "d" * 40, "size": 0}
        if recursive or not folders:
            found[path] = {"type": "file", "path": path, "oid": "f" * 40, "size": len(data)}
    return list(found.values())
