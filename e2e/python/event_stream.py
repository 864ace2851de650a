"""Python `sseclient-py` over the standard library's HTTP against the gateway: messages and the end of a stream."""

import json
import os
import ssl
import urllib.error
import urllib.request

from sseclient import SSEClient

WAIT_S = 15
TEXTS = ["Hello World!", "Grüße, 世界 🎈", " ", " two\nlines", "a\r\n\r\nb\rc", "x" * (1 << 20)]

GATEWAY = f"{os.environ['ADDRESS']}/v1/gateways/{os.environ['GATEWAY_ID']}"
AS_OWNER = {"Authorization": f"Bearer {os.environ['TOKEN']}"}
TLS = ssl.create_default_context(cafile=os.environ["CA"]) if GATEWAY.startswith("https:") else None


def call(url, method="GET", body=None, headers=None):
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(url, data, headers or {}, method=method)
    return urllib.request.urlopen(asked, timeout=WAIT_S, context=TLS)


def request(method, path, body=None, headers=None):
    with call(GATEWAY + path, method, body, headers) as answer:
        return json.load(answer)


def tell(data):
    request("POST", "/messages", {"data": data, "receivers": {"sockets": ["*"], "tags": None}})


def listen():
    made = request("POST", "/sockets", {"tags": []}, AS_OWNER)
    url = made["uri"].replace("ws", "http", 1)
    stream = call(url, headers={"Accept": "text/event-stream"})
    assert stream.headers["Content-Type"] == "text/event-stream"
    return made["id"], url, SSEClient(stream).events()


def check_messages(events):
    for text in TEXTS:
        tell(text)
        event = next(events)
        assert event.event == "message" and event.id
        expected = text.replace("\r\n", "\n").replace("\r", "\n")
        assert event.data == expected, f"heard {len(event.data)} characters that are not what was said"


def check_end(identity, url, events):
    request("DELETE", f"/sockets/{identity}", headers=AS_OWNER)
    event = next(events)
    assert (event.event, json.loads(event.data)) == ("close", {"code": 1000, "reason": ""})
    assert next(events, None) is None
    try:
        call(url, headers={"Accept": "text/event-stream"})
    except urllib.error.HTTPError as refused:
        assert refused.code == 410
        assert json.load(refused)["error"]["reason"] == "Gone"
    else:
        raise AssertionError("a used address opened another stream")


identity, url, events = listen()
check_messages(events)
check_end(identity, url, events)
print(json.dumps({"texts": len(TEXTS)}))
