"""Python `websockets` against the gateway: messages, closes, pings and fragments, as a stock library does them."""

import asyncio
import json
import os
import ssl
import urllib.request

from websockets.asyncio.client import connect as dial
from websockets.exceptions import ConnectionClosed

WAIT_S = 15
MEBIBYTE = 1 << 20
TEXTS = ["Hello World!", "Grüße, 世界 🎈", " ", "a\0b\u2028c", "x" * MEBIBYTE, "ä" * (MEBIBYTE // 2)]

GATEWAY = f"{os.environ['ADDRESS']}/v1/gateways/{os.environ['GATEWAY_ID']}"
AS_OWNER = {"Authorization": f"Bearer {os.environ['TOKEN']}"}
TLS = ssl.create_default_context(cafile=os.environ["CA"]) if GATEWAY.startswith("https:") else None


async def request(method, path, body=None, headers=None):
    data = None if body is None else json.dumps(body).encode()
    call = urllib.request.Request(GATEWAY + path, data, headers or {}, method=method)

    def send():
        with urllib.request.urlopen(call, timeout=WAIT_S, context=TLS) as answer:
            return json.load(answer)

    return await asyncio.to_thread(send)


async def fresh_uri():
    return (await request("GET", "/websocket_uri"))["uri"]


async def tell(data, sockets=("*",), tags=None):
    receivers = {"sockets": sockets and list(sockets), "tags": tags}
    await request("POST", "/messages", {"data": data, "receivers": receivers})


async def open_at(uri, compression="deflate"):
    return await dial(uri, ssl=TLS, compression=compression, proxy=None, open_timeout=WAIT_S)


async def connect(compression="deflate"):
    return await open_at(await fresh_uri(), compression)


async def expect_message(socket, expected):
    heard = await asyncio.wait_for(socket.recv(), WAIT_S)
    assert heard == expected, f"heard {len(heard)} characters that are not what was said"


async def expect_close(socket, expected):
    """The code in the server's own close frame, with its reason."""
    try:
        message = await asyncio.wait_for(socket.recv(), WAIT_S)
    except ConnectionClosed as closed:
        assert closed.rcvd is not None, "the connection ended without a close frame"
        assert closed.rcvd.code == expected, closed.rcvd
        return closed.rcvd.reason
    raise AssertionError(f"expected a close, heard {message!r}")


async def check_messages():
    listeners = [await connect("deflate"), await connect(None)]
    for socket in listeners:
        assert socket.protocol.extensions == [], "compression is declined"
        assert socket.subprotocol is None
    for text in TEXTS:
        await tell(text)
        for socket in listeners:
            await expect_message(socket, text)
    return listeners


async def check_fragments(listeners):
    await listeners[0].send(["said in ", "three ", "pieces"])
    await listeners[0].send(bytes([0, 255]))
    # What a client says goes nowhere, so the next thing that anybody hears is this.
    await tell("still there")
    for socket in listeners:
        await expect_message(socket, "still there")


async def check_pings(socket):
    for payload in ["Ping.", "x" * 125, ""]:
        # The library takes only a pong with the same payload for the answer.
        answered = await socket.ping(payload)
        await asyncio.wait_for(answered, WAIT_S)


async def check_client_closes():
    for code in [1000, 1001, 3000, 4321]:
        socket = await connect()
        await socket.close(code, "bye")
        await expect_close(socket, code)


async def check_server_closes():
    made = await request("POST", "/sockets", {"tags": ["a tag"]}, AS_OWNER)
    socket = await open_at(made["uri"])
    await tell("for the tag", sockets=None, tags=["a tag"])
    await expect_message(socket, "for the tag")
    await request("DELETE", f"/sockets/{made['id']}", headers=AS_OWNER)
    await expect_close(socket, 1000)

    talkative = await connect(None)
    await talkative.send("x" * MEBIBYTE)
    assert await expect_close(talkative, 1009) == "message too big"


async def check_bad_addresses():
    uri = await fresh_uri()
    first = await open_at(uri)
    await expect_close(await open_at(uri), 1000)
    unknown = uri.partition("token=")[0] + "token=" + "0" * 64
    await expect_close(await open_at(unknown), 1000)
    await tell("the first is not disturbed")
    await expect_message(first, "the first is not disturbed")


async def check_goodbye():
    socket = await connect()
    print("stop the server", flush=True)
    assert await expect_close(socket, 1001) == "going away"


async def main():
    listeners = await check_messages()
    await check_fragments(listeners)
    await check_pings(listeners[1])
    await check_client_closes()
    await check_server_closes()
    await check_bad_addresses()
    await check_goodbye()
    print(json.dumps({"texts": len(TEXTS)}))


asyncio.run(main())
