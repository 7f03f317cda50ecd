"""Put on PYTHONPATH, it cuts the network of a process: every attempt fails and is written down."""

import os
import socket
from typing import Any, NoReturn


def _refuse(*address: Any, **_: Any) -> NoReturn:
    with open(os.environ["NETWORK_ATTEMPTS"], "a", encoding="utf-8") as file:
        file.write(f"{address[1:] or address}\n")
    raise OSError("the network is cut")


for _name in ("connect", "connect_ex", "sendto", "bind"):
    setattr(socket.socket, _name, _refuse)
for _name in ("getaddrinfo", "gethostbyname", "create_connection"):
    setattr(socket, _name, _refuse)
