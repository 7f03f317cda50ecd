"""`transformers serve` on loopback: a real server of OpenAI's chat protocol."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2


@contextmanager
def transformers_serve(model: str) -> Iterator[str]:
    """Serves a checkpoint on the CPU; gives the address for OPENAI_BASE_URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", model]
    server = subprocess.Popen([*command, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"])
    try:
        for _ in range(180):
            try:
                if httpx2.get(f"http://127.0.0.1:{port}/health").status_code == httpx2.codes.OK:
                    break
            except httpx2.HTTPError:
                assert server.poll() is None, "the server ended"
            time.sleep(1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(30)
