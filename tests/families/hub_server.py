"""A Hugging Face Hub of one repository on this machine, which keeps what it was asked for."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "acme/tower"


class Hub:
    """Where it listens, and which files were downloaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.downloaded: list[str] = []
        self.url = ""


@contextmanager
def serve(folder: Path) -> Iterator[Hub]:
    """A server of ``folder`` as acme/tower, whose branches are main and v1, both at COMMIT; acme/gated is gated."""
    hub = Hub(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def log_message(self, format: str, *args: object) -> None:
            pass

        def _answer(self, *, body: bool) -> None:
            path = self.path.partition("?")[0]
            if path.startswith("/acme/gated/") or path.startswith("/api/models/acme/gated"):
                return self._refuse(403, "GatedRepo")
            if path.startswith(f"/api/models/{REPO}"):
                revision = path.removeprefix(f"/api/models/{REPO}").removeprefix("/revision/") or "main"
                if revision not in ("main", "v1", COMMIT):
                    return self._refuse(404, "RevisionNotFound")
                names = sorted(path.name for path in folder.iterdir())
                siblings = [{"rfilename": name} for name in names]
                return self._send(json.dumps({"id": REPO, "sha": COMMIT, "siblings": siblings}).encode(), body=body)
            if not path.startswith(tuple(f"/{REPO}/resolve/{revision}/" for revision in ("main", "v1", COMMIT))):
                return self._refuse(404, "RepoNotFound")
            name = path.rpartition("/")[2]
            if not (folder / name).is_file():
                return self._refuse(404, "EntryNotFound")
            if body:
                hub.downloaded.append(name)
            return self._send((folder / name).read_bytes(), body=body)

        def _send(self, content: bytes, *, body: bool) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if body:
                self.wfile.write(content)

        def _refuse(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
