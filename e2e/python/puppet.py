"""Python `websockets` on a string: does what each line of its input says, and says what it hears. The lines stand in
`qt/web-sockets/main.cpp`."""

import asyncio
import os
import ssl
import sys

from websockets.asyncio.client import connect as dial
from websockets.exceptions import ConnectionClosed

WAIT_S = 30
SHOWN_MAX = 64
TLS = ssl.create_default_context(cafile=os.environ["CA"])


def tell(line):
    print(line.strip(), flush=True)


def mark(data):
    if not data:
        return "-"
    if len(data) <= SHOWN_MAX:
        return data.hex()
    total = 0
    for byte in data:
        total = (total * 31 + byte) & 0xFFFFFFFF
    return f"{len(data)}:{total}"


def letters(count):
    return ("abcdefghijklmnopqrstuvwxyz" * (count // 26 + 1))[:count]


async def listen(socket):
    try:
        async for message in socket:
            kind, data = ("text", message.encode()) if isinstance(message, str) else ("binary", message)
            tell(f"{kind} {mark(data)}")
    except ConnectionClosed:
        pass
    tell(f"closed {socket.close_code} {socket.close_reason}")


async def open_at(uri):
    tls = TLS if uri.startswith("wss:") else None
    socket = await dial(uri, ssl=tls, proxy=None, open_timeout=WAIT_S)
    extensions = [extension.name for extension in socket.protocol.extensions]
    tell("open " + (", ".join(extensions) or "-"))
    return socket, asyncio.create_task(listen(socket))


async def obey(socket, verb, rest):
    if verb == "say":
        await socket.send(bytes.fromhex(rest).decode())
    elif verb == "say-long":
        await socket.send(letters(int(rest)))
    elif verb == "send":
        await socket.send(bytes.fromhex(rest))
    elif verb == "ping":
        await asyncio.wait_for(await socket.ping(rest), WAIT_S)
        tell(f"pong {rest}")
    elif verb == "close":
        code, _, reason = rest.partition(" ")
        await socket.close(int(code), reason)
    else:
        raise AssertionError(f"{verb} is not understood")


async def main():
    socket, listener = None, None
    while line := await asyncio.to_thread(sys.stdin.readline):
        verb, _, rest = line.rstrip("\n").partition(" ")
        if verb == "open":
            socket, listener = await open_at(rest)
        else:
            try:
                await obey(socket, verb, rest)
            except ConnectionClosed:
                # The listener says so.
                await listener


asyncio.run(main())
