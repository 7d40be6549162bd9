"""A server that speaks what the Hub's client asks when a folder is sent: LFS and commits.

It keeps one dataset in memory. Files that Git would hold itself come with the commit; what is
Parquet goes by LFS: a batch request, a PUT of the bytes, a request to verify them, and a pointer in
the commit. Xet, which the Hub prefers today, it does not speak.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

__all__ = ["HubServer", "hub_server"]

_SHA = "0" * 40


@dataclass
class HubServer:
    """What has arrived.

    Attributes:
        files: of the dataset, as they were committed.
        objects: bytes by SHA-256, sent but not committed too.
        asked: method and path of each request.
        failing: paths that begin so are answered by 500, as often as it says.
        refused: paths that begin so are answered by 403.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    verified: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    failing: dict[str, int] = field(default_factory=dict)
    refused: str | None = None
    made: dict[str, Any] | None = None
    commits: int = 0

    def write_to(self, folder: Path) -> None:
        """The dataset as a clone of it would be."""
        for name, data in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """Status, and what is sent as JSON."""
        path = path.partition("?")[0]
        self.asked.append(f"{method} {path}")
        for start, times in self.failing.items():
            if path.startswith(start) and times > 0:
                self.failing[start] = times - 1
                return 500, {"error": "as told"}
        if self.refused is not None and path.startswith(self.refused):
            return 403, {}
        if method == "PUT" and path.startswith("/objects/"):
            self.objects[path.rpartition("/")[2]] = body
            return 200, {}
        step = path.rpartition("/main")[0].rpartition("/")[2] or path.rpartition("/")[2]
        known = getattr(self, f"_{step.replace('-', '_')}", None)
        return (404, {}) if known is None else (200, known(body))

    def _create(self, body: bytes) -> Any:
        self.made = self.made or json.loads(body)
        return {"url": f"{self.url}/datasets/{self.made['organization']}/{self.made['name']}"}

    def _validate_yaml(self, body: bytes) -> Any:
        assert json.loads(body)["content"].startswith("---\n")
        return {"warnings": [], "errors": []}

    def _tree(self, body: bytes) -> Any:
        return [
            {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
            for name, data in self.files.items()
        ]

    def _preupload(self, body: bytes) -> Any:
        return {"files": [self._mode(file["path"]) for file in json.loads(body)["files"]]}

    def _mode(self, path: str) -> Any:
        lfs = path.endswith(".parquet")
        found = {"path": path, "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False}
        data = self.files.get(path)
        if data is not None and lfs:
            found["oid"] = hashlib.sha256(data).hexdigest()
        elif data is not None:
            found["oid"] = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        return found

    def _batch(self, body: bytes) -> Any:
        return {
            "transfer": "basic",
            "objects": list(map(self._wanted, json.loads(body)["objects"])),
        }

    def _wanted(self, each: dict[str, Any]) -> Any:
        if each["oid"] in self.objects:
            return each
        links = {"upload": {"href": f"{self.url}/objects/{each['oid']}"}}
        links["verify"] = {"href": f"{self.url}/verify"}
        return each | {"actions": links}

    def _verify(self, body: bytes) -> Any:
        each = json.loads(body)
        data = self.objects[each["oid"]]
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (each["oid"], each["size"])
        self.verified.add(each["oid"])
        return {}

    def _commit(self, body: bytes) -> Any:
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "lfsFile":
                self.files[value["path"]] = self.objects[value["oid"]]
            elif entry["key"] == "file":
                self.files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "deletedFile":
                del self.files[value["path"]]
        self.commits += 1
        return {"commitUrl": f"{self.url}/datasets/me/captions/commit/{_SHA}", "commitOid": _SHA}

    def _revision(self, body: bytes) -> Any:
        return {"id": "me/captions", "sha": _SHA, "private": False, "siblings": []}


@contextmanager
def hub_server() -> Iterator[HubServer]:
    """On a free port of the loopback interface."""
    hub = HubServer()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self._body()
            with lock:
                status, content = hub.answer(self.command, self.path, body)
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            chunks: list[bytes] = []
            while size := int(self.rfile.readline(), 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)

        do_GET = do_POST = do_PUT = _answer

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield hub
        server.shutdown()
