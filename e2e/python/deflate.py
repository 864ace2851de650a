"""Python `websockets` and zlib against a gateway that sends everything back: messages of every size and kind, in every
agreement on windows, as in the sections 12 and 13 of the Autobahn suite.

`COUNT` says how many messages each case sends.
"""

import asyncio
import json
import os
import random
import ssl
import urllib.request

from websockets.asyncio.client import connect as dial
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory as Offer

WAIT_S = 60
# Messages that are said before the first of them came back.
AHEAD_MAX = 8
COUNT = int(os.environ["COUNT"])
GATEWAY = f"{os.environ['ADDRESS']}/v1/gateways/{os.environ['GATEWAY_ID']}"
TLS = ssl.create_default_context(cafile=os.environ["CA"]) if GATEWAY.startswith("https:") else None

# The size of a message, and of the frames that it is sent in: one frame where there is none.
SIZES = [(16, None), (64, None), (256, None), (1024, None), (4096, None), (8192, None), (16384, None), (32768, None)]
SIZES += [(65536, None), (131072, None), (8192, 256), (16384, 256), (32768, 256), (65536, 256), (131072, 256)]
SIZES += [(131072, 1024), (131072, 4096), (131072, 32768)]

# What the sections 13.1 to 13.7 offer: server_no_context_takeover and server_max_window_bits, in order of preference.
OFFERS = {
    "13.1": [(False, None)],
    "13.2": [(True, None)],
    "13.3": [(False, 9)],
    "13.4": [(False, 15)],
    "13.5": [(True, 9)],
    "13.6": [(True, 15)],
    "13.7": [(True, 9), (True, None), (False, None)],
}

CHANCE = random.Random(7692)


def as_json(size):
    members = []
    while sum(map(len, members)) < size:
        members.append(json.dumps({"id": CHANCE.randrange(1 << 20), "name": "Grüße", "tags": ["a", "b"], "ok": True}))
    return "".join(members)[:size]


def as_prose(size):
    words = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "während", "世界", "🎈"]
    text = " ".join(CHANCE.choice(words) for _ in range(size // 3 + 1))
    return text[:size]


def as_noise(size):
    return CHANCE.randbytes(size)


def as_zeros(size):
    return bytes(size)


def as_rows(size):
    row = CHANCE.randbytes(700)
    return (row * (size // len(row) + 1))[:size]


KINDS = {"12.1": as_json, "12.2": as_prose, "12.3": as_noise, "12.4": as_zeros, "12.5": as_rows}


def fresh_uri():
    with urllib.request.urlopen(f"{GATEWAY}/websocket_uri", timeout=WAIT_S, context=TLS) as answer:
        return json.load(answer)["uri"]


async def connect(offers):
    extensions = [
        Offer(server_no_context_takeover=no_context, server_max_window_bits=bits, client_max_window_bits=True)
        for no_context, bits in offers
    ]
    uri = await asyncio.to_thread(fresh_uri)
    socket = await dial(uri, ssl=TLS, compression=None, extensions=extensions, proxy=None, open_timeout=WAIT_S)
    assert len(socket.protocol.extensions) == 1, f"{offers} were declined"
    agreed = socket.protocol.extensions[0]
    bits = offers[0][1]
    # What the library reads with; it would not understand what refers back farther.
    assert bits is None or agreed.remote_max_window_bits <= bits, agreed
    assert agreed.remote_no_context_takeover, "nothing is kept between messages"
    return socket


async def say(socket, message, frame):
    if frame is None:
        await socket.send(message)
    else:
        await socket.send([message[start : start + frame] for start in range(0, len(message), frame)])


async def converse(name, socket, make, size, frame):
    messages = [make(size) for _ in range(COUNT)]
    # Some way ahead of what was heard, so that both directions are busy.
    ahead = asyncio.Semaphore(AHEAD_MAX)

    async def speak():
        for message in messages:
            await ahead.acquire()
            await say(socket, message, frame)

    speaker = asyncio.create_task(speak())
    for number, message in enumerate(messages):
        heard = await asyncio.wait_for(socket.recv(), WAIT_S)
        assert heard == message, f"{name}: message {number} of {size} came back as another"
        ahead.release()
    await speaker
    return COUNT


async def main():
    sent = 0
    cases = 0
    for name, make in KINDS.items():
        socket = await connect([(False, None)])
        for size, frame in SIZES:
            sent += await converse(name, socket, make, size, frame)
            cases += 1
        await socket.close()
    for name, offers in OFFERS.items():
        socket = await connect(offers)
        for size, frame in SIZES:
            sent += await converse(name, socket, as_rows if frame else as_json, size, frame)
            cases += 1
        await socket.close()
    print(json.dumps({"cases": cases, "messages": sent}))


asyncio.run(main())
