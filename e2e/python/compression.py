"""Python `websockets` at a gateway that compresses: what is said arrives unchanged, whatever window was agreed upon, and
the library's own zlib, which is held to that window, can read it.
"""

import asyncio
import base64
import json
import os
import random
import ssl
import urllib.request

from websockets.asyncio.client import connect as dial
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory as Offer

WAIT_S = 30
GATEWAY = f"{os.environ['ADDRESS']}/v1/gateways/{os.environ['GATEWAY_ID']}"
AS_OWNER = {"Authorization": f"Bearer {os.environ['TOKEN']}"}
TLS = ssl.create_default_context(cafile=os.environ["CA"]) if GATEWAY.startswith("https:") else None

CHANCE = random.Random(1951)
ROW = '{"object":{"score":17,"player":"p1"},"meta":{"eventName":"update","Grüße":"世界"}}'


async def request(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    call = urllib.request.Request(GATEWAY + path, data, AS_OWNER, method=method)

    def send():
        with urllib.request.urlopen(call, timeout=WAIT_S, context=TLS) as answer:
            return json.load(answer)

    return await asyncio.to_thread(send)


async def tell(data, **more):
    receivers = {"sockets": ["*"], "tags": None}
    await request("POST", "/messages", {"data": data, "receivers": receivers, **more})


async def connect(**options):
    uri = (await request("GET", "/websocket_uri"))["uri"]
    return await dial(uri, ssl=TLS, proxy=None, open_timeout=WAIT_S, max_size=None, **options)


async def expect(listeners, message):
    for socket in listeners:
        heard = await asyncio.wait_for(socket.recv(), WAIT_S)
        assert heard == message, f"heard {len(heard)} of what is no longer what was said"


async def main():
    await request("PUT", "/configuration", {"compression": True})
    listeners = [await connect(), await connect(compression=None)]
    for bits in range(9, 16):
        offers = [Offer(server_max_window_bits=bits, client_max_window_bits=bits)]
        listeners.append(await connect(compression=None, extensions=offers))
        agreed = listeners[-1].protocol.extensions[0]
        assert agreed.remote_max_window_bits <= bits, agreed
    # Nothing here compresses within 256 bytes, so the second offer is taken.
    offers = [Offer(server_max_window_bits=8), Offer()]
    listeners.append(await connect(compression=None, extensions=offers))
    assert listeners[-1].protocol.extensions[0].remote_max_window_bits == 15
    assert [len(socket.protocol.extensions) for socket in listeners] == [1, 0] + [1] * 8

    sizes = [1, 63, 64, 126, 500, 513, 4096, 16384, 16400, 65535, 65536, 250_000, 1 << 20]
    for size in sizes:
        rows = "".join(f"{CHANCE.randrange(1 << 30)}{ROW}" for _ in range(size // 60 + 1))
        text = rows.encode()[:size].decode(errors="ignore")
        await tell(text)
        await expect(listeners, text)
    # The same bytes again and again, farther apart than any narrow window reaches.
    far = CHANCE.randbytes(5000) * 20
    await tell(base64.b64encode(far).decode(), encoding="base64")
    await expect(listeners, far)

    for socket in listeners:
        await socket.send("said compressed " * 1000)
        await socket.send(["in ", "pieces" * 1000])
        answered = await socket.ping("still there?")
        await asyncio.wait_for(answered, WAIT_S)
    await tell("still there")
    await expect(listeners, "still there")
    print(json.dumps({"sizes": len(sizes)}))


asyncio.run(main())
