"""A model hub of one repository on localhost, as far as snapshot_download asks: info, tree, HEAD and GET of files."""

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from urllib.parse import urlsplit

COMMIT = "a" * 40
REPOSITORY = "someone/tiny"


@dataclass
class Hub:
    """What the stub serves and how; tests change it while it runs.

    Attributes:
        refusal: status and `X-Error-Code` of every answer, if any.
        gated: whether the files are refused, but not their list (as the real hub does it).
        bytes_per_s: of each file.
        login_page: whether every answer is HTML, as of a network that wants a password first.
        silent: whether it accepts requests and never answers.
        asked: method and path of every request.
    """

    files: dict[str, bytes]
    address: str = ""
    refusal: tuple[int, str] | None = None
    gated: bool = False
    bytes_per_s: float = 1e9
    login_page: bool = False
    silent: bool = False
    asked: list[str] = field(default_factory=list)

    def fetched(self) -> list[str]:
        """The files whose bytes were asked for."""
        return [_file(line) for line in self.asked if line.startswith("GET") and "/resolve/" in line]


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Hub]:
    hub = Hub(files)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def _file(path: str) -> str:
    """The path in the repository out of `.../resolve/REVISION/PATH`."""
    return path.partition("/resolve/")[2].partition("/")[2]


def trickle(file: BufferedIOBase, data: bytes, *, piece: int, bytes_per_s: float) -> None:
    """Sends data in pieces, as slowly as that; ends where the client was ended."""
    for start in range(0, len(data), piece):
        try:
            file.write(data[start : start + piece])
        except OSError:
            return
        time.sleep(min(len(data), piece) / bytes_per_s)


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _tree(files: dict[str, bytes]) -> object:
    return [{"type": "file", "path": name, "size": len(data), "oid": _sha(data)[:40]} for name, data in files.items()]


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def _answer(self) -> None:
            path = urlsplit(self.path).path
            hub.asked.append(f"{self.command} {path}")
            while hub.silent:
                time.sleep(0.05)
            if hub.login_page:
                self._send(b"<html>Log in</html>")
            elif hub.refusal:
                self._refuse(*hub.refusal)
            elif f"/api/models/{REPOSITORY}/tree/" in path:
                self._send(json.dumps(_tree(hub.files)).encode())
            elif path.startswith(f"/api/models/{REPOSITORY}"):
                self._send(json.dumps({"id": REPOSITORY, "sha": COMMIT}).encode())
            elif hub.gated:
                self._refuse(403, "GatedRepo")
            else:
                self._send(hub.files[_file(path)])

        def _refuse(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _send(self, data: bytes) -> None:
            first = int(self.headers.get("Range", "bytes=0-")[6:].rstrip("-"))
            self.send_response(206 if first else 200)
            self.send_header("Content-Length", str(len(data) - first))
            if first:
                self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
            self.send_header("ETag", f'"{_sha(data)}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if self.command == "GET":
                trickle(self.wfile, data[first:], piece=1 << 16, bytes_per_s=hub.bytes_per_s)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
