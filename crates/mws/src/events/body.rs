//! What events look like on the wire.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use pilvi_model::{GatewayId, Timestamp};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::Transport;
use super::line::{Ending, Facts};
use crate::dress::{Kind, Payload};

/// One event, as the app reads it.
#[derive(Debug, Serialize)]
pub(super) struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(serialize_with = "as_text")]
    timestamp: Timestamp,
    data: Data<'a>,
}

#[derive(Debug, Serialize)]
struct Data<'a> {
    gateway: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    socket: Option<Socket<'a>>,
    #[serde(flatten)]
    more: More<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Socket<'a> {
    id: String,
    tags: Vec<&'a str>,
    #[serde(serialize_with = "as_text")]
    connected_at: Timestamp,
    transport: Transport,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
}

/// What there is to say about one kind of event.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum More<'a> {
    Connect {
        request: &'a Request,
    },
    Message {
        sequence: u64,
        data: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        encoding: Option<&'static str>,
    },
    Disconnect {
        code: u16,
        reason: &'a str,
        clean: bool,
    },
    Test {},
}

/// What a socket's request said, as far as it may matter to the app.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Request {
    pub(crate) address: String,
    pub(crate) origin: Option<String>,
    pub(crate) user_agent: Option<String>,
    /// Without the token.
    pub(crate) query: Map<String, Value>,
}

pub(super) fn connect(facts: &Facts, tags: &[Arc<str>], request: &Request) -> Bytes {
    write(
        "connect",
        facts.connected_at,
        facts,
        tags,
        More::Connect { request },
    )
}

pub(super) fn message(
    facts: &Facts,
    tags: &[Arc<str>],
    at: Timestamp,
    sequence: u64,
    payload: &Payload,
) -> Bytes {
    let encoded;
    let text = match payload.kind {
        Kind::Text => std::str::from_utf8(&payload.bytes).ok(),
        Kind::Binary => None,
    };
    let (data, encoding) = match text {
        Some(text) => (text, None),
        None => {
            encoded = STANDARD.encode(&payload.bytes);
            (&*encoded, Some("base64"))
        }
    };
    let message = More::Message {
        sequence,
        data,
        encoding,
    };
    write("message", at, facts, tags, message)
}

pub(super) fn disconnect(
    facts: &Facts,
    tags: &[Arc<str>],
    at: Timestamp,
    ending: &Ending,
) -> Bytes {
    let disconnect = More::Disconnect {
        code: ending.code,
        reason: &ending.reason,
        clean: ending.clean,
    };
    write("disconnect", at, facts, tags, disconnect)
}

/// An event that tells of nothing.
pub(super) fn test(gateway: GatewayId, at: Timestamp) -> Bytes {
    let data = Data {
        gateway: gateway.to_string(),
        socket: None,
        more: More::Test {},
    };
    to_bytes(&Event {
        kind: "test",
        timestamp: at,
        data,
    })
}

fn write(
    kind: &'static str,
    timestamp: Timestamp,
    facts: &Facts,
    tags: &[Arc<str>],
    more: More<'_>,
) -> Bytes {
    let socket = Socket {
        id: facts.id.to_string(),
        tags: tags.iter().map(|tag| &**tag).collect(),
        connected_at: facts.connected_at,
        transport: facts.transport,
        user: facts.user.as_deref(),
    };
    let data = Data {
        gateway: facts.gateway.to_string(),
        socket: Some(socket),
        more,
    };
    to_bytes(&Event {
        kind,
        timestamp,
        data,
    })
}

fn to_bytes(event: &Event<'_>) -> Bytes {
    let body = serde_json::to_vec(event);
    body.expect("texts, numbers and lists of texts can be written")
        .into()
}

fn as_text<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&at.to_millis_text())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::socket_id::SocketId;

    fn facts(id: SocketId) -> Facts {
        Facts {
            gateway: GatewayId::from_bytes([1; 12]),
            id,
            connected_at: Timestamp::from_millis(0),
            user: Some("users.5417e5485a3d8b418a01adb8".into()),
            transport: Transport::WebSocket,
        }
    }

    fn read(body: &Bytes) -> Value {
        serde_json::from_slice(body).unwrap()
    }

    #[test]
    fn every_event_says_what_when_and_of_whom() {
        let id = SocketId::random();
        let facts = facts(id);
        let tags = [Arc::from("room.1")];
        let at = Timestamp::from_millis(1_500);
        let socket = json!({
            "id": id.to_string(),
            "tags": ["room.1"],
            "connectedAt": "1970-01-01T00:00:00.000Z",
            "transport": "websocket",
            "user": "users.5417e5485a3d8b418a01adb8",
        });
        let gateway = "010101010101010101010101";

        let text = Payload {
            kind: Kind::Text,
            bytes: Bytes::from_static("h\u{e4}".as_bytes()),
        };
        assert_eq!(
            read(&message(&facts, &tags, at, 7, &text)),
            json!({"type": "message", "timestamp": "1970-01-01T00:00:01.500Z", "data": {
                "gateway": gateway, "socket": socket, "sequence": 7, "data": "h\u{e4}",
            }})
        );
        let binary = Payload {
            kind: Kind::Binary,
            bytes: Bytes::from_static(&[0, 255]),
        };
        let told = read(&message(&facts, &tags, at, 8, &binary));
        assert_eq!(told["data"]["data"], "AP8=");
        assert_eq!(told["data"]["encoding"], "base64");

        let ending = Ending {
            code: 1001,
            reason: "going away".into(),
            clean: true,
        };
        let told = read(&disconnect(&facts, &tags, at, &ending));
        assert_eq!(told["type"], "disconnect");
        assert_eq!(told["data"]["code"], 1001);
        assert_eq!(told["data"]["reason"], "going away");
        assert_eq!(told["data"]["clean"], true);

        let request = Request {
            address: "192.0.2.1".to_owned(),
            origin: None,
            user_agent: Some("x/1".to_owned()),
            query: Map::from_iter([("room".to_owned(), "1".into())]),
        };
        let told = read(&connect(&facts, &tags, &request));
        assert_eq!(
            told["data"]["request"],
            json!({"address": "192.0.2.1", "origin": null, "userAgent": "x/1", "query": {"room": "1"}})
        );

        let told = read(&test(facts.gateway, at));
        assert_eq!(
            told,
            json!({"type": "test", "timestamp": "1970-01-01T00:00:01.500Z", "data": {"gateway": gateway}})
        );
    }
}
