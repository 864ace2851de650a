//! What an app answers to an event.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, header};
use pilvi_core::egress::Fetched;
use serde_json::{Map, Value};

use crate::dress::{Kind, Payload};
use crate::limits::Limits;
use crate::wire;

/// What is to be done after `connect`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct OfConnect {
    /// The socket is not let in, and why.
    pub(super) refused: Option<String>,
    /// The socket has these tags, too.
    pub(super) tags: Vec<Arc<str>>,
    pub(super) reply: Option<Payload>,
}

/// What is to be done after `message`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct OfMessage {
    pub(super) add: Vec<Arc<str>>,
    pub(super) remove: Vec<Arc<str>>,
    pub(super) reply: Option<Payload>,
}

/// What is wrong with an answer, as a whole sentence.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault(pub(super) String);

impl OfConnect {
    pub(super) fn read(answer: &Fetched, limits: &Limits) -> Result<Self, Fault> {
        let Some(mut object) = object(answer)? else {
            return Ok(Self::default());
        };
        let refused = match object.remove("refuse") {
            None | Some(Value::Null | Value::Bool(false)) => None,
            Some(Value::Bool(true)) => Some(reason(&object)),
            Some(_) => return Err(Fault("\"refuse\" is neither true nor false.".to_owned())),
        };
        Ok(Self {
            refused,
            reply: reply(&mut object)?,
            tags: tags(object.remove("tags"), limits)?,
        })
    }
}

impl OfMessage {
    pub(super) fn read(answer: &Fetched, limits: &Limits) -> Result<Self, Fault> {
        let Some(mut object) = object(answer)? else {
            return Ok(Self::default());
        };
        let (add, remove) = match object.remove("tags") {
            None | Some(Value::Null) => (None, None),
            Some(Value::Object(mut change)) => (change.remove("add"), change.remove("remove")),
            Some(_) => {
                let fault = "\"tags\" is not an object with the lists \"add\" and \"remove\".";
                return Err(Fault(fault.to_owned()));
            }
        };
        Ok(Self {
            add: tags(add, limits)?,
            remove: tags(remove, limits)?,
            reply: reply(&mut object)?,
        })
    }
}

/// All tags of both, each once.
///
/// # Errors
/// When they are more than a socket can have.
pub(super) fn joined(
    mut tags: Vec<Arc<str>>,
    more: &[Arc<str>],
    limits: &Limits,
) -> Result<Vec<Arc<str>>, Fault> {
    for tag in more {
        if !tags.contains(tag) {
            tags.push(Arc::clone(tag));
        }
    }
    let most = limits.tags_per_socket_max;
    if tags.len() > most {
        let text = format!(
            "The socket would have {} tags, more than {most}.",
            tags.len()
        );
        return Err(Fault(text));
    }
    Ok(tags)
}

/// The object that an answer holds. What claims to be no JSON and is none, such as the `OK` of many frameworks, says
/// nothing.
fn object(answer: &Fetched) -> Result<Option<Map<String, Value>>, Fault> {
    if answer.body.trim_ascii().is_empty() {
        return Ok(None);
    }
    match serde_json::from_slice(&answer.body) {
        Ok(Value::Object(object)) => Ok(Some(object)),
        Ok(Value::Null) => Ok(None),
        _ if !claims_json(&answer.headers) => Ok(None),
        Ok(_) => Err(Fault("It is JSON, but not an object.".to_owned())),
        Err(error) => Err(Fault(format!(
            "It is not the JSON that it claims to be: {error}."
        ))),
    }
}

fn claims_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    kind == "application/json" || kind.ends_with("+json")
}

/// Why somebody is not let in. Nothing said is nothing told.
pub(super) fn reason(object: &Map<String, Value>) -> String {
    let reason = object.get("reason").and_then(Value::as_str);
    reason.unwrap_or_default().to_owned()
}

/// Why somebody is not let in, from an answer whose status says that they are not.
pub(super) fn reason_of(body: &[u8]) -> String {
    let object = serde_json::from_slice::<Map<String, Value>>(body);
    object.map(|object| reason(&object)).unwrap_or_default()
}

/// Any JSON value: a string as it is, the others as their compact text.
fn reply(object: &mut Map<String, Value>) -> Result<Option<Payload>, Fault> {
    let encoded = match object.remove("encoding") {
        None | Some(Value::Null) => false,
        Some(Value::String(name)) if name == "base64" => true,
        Some(_) => return Err(Fault("\"encoding\" can be base64 only.".to_owned())),
    };
    let text = match object.remove("reply") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text,
        Some(_) if encoded => return Err(Fault("\"reply\" is not a text of base64.".to_owned())),
        Some(other) => other.to_string(),
    };
    let payload = match encoded {
        false => Payload {
            kind: Kind::Text,
            bytes: text.into(),
        },
        true => Payload {
            kind: Kind::Binary,
            bytes: STANDARD
                .decode(text)
                .map(Bytes::from)
                .map_err(|_| Fault("\"reply\" is not a text of base64.".to_owned()))?,
        },
    };
    Ok(Some(payload))
}

/// The same rules as for `POST /sockets`.
fn tags(value: Option<Value>, limits: &Limits) -> Result<Vec<Arc<str>>, Fault> {
    let Some(value) = value else {
        return Ok(Vec::new());
    };
    let body = Map::from_iter([("tags".to_owned(), value)]);
    wire::read_tags(body, limits).map_err(|error| {
        let faults = error.fields.iter().map(|fault| &*fault.message);
        let faults: Vec<&str> = faults.collect();
        Fault(format!("Its tags do not do: {}.", faults.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, StatusCode};

    use super::*;

    fn answer(kind: Option<&'static str>, body: &str) -> Fetched {
        let mut headers = HeaderMap::new();
        if let Some(kind) = kind {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        Fetched {
            status: StatusCode::OK,
            headers,
            body: Bytes::copy_from_slice(body.as_bytes()),
        }
    }

    fn text(text: &str) -> Option<Payload> {
        Some(Payload {
            kind: Kind::Text,
            bytes: Bytes::copy_from_slice(text.as_bytes()),
        })
    }

    fn names(tags: &[&str]) -> Vec<Arc<str>> {
        tags.iter().map(|tag| Arc::from(*tag)).collect()
    }

    #[test]
    fn whoever_says_nothing_lets_in() {
        let json = Some("application/json; charset=utf-8");
        for (kind, body) in [
            (None, ""),
            (json, " \n"),
            (json, "{}"),
            (json, "null"),
            (Some("text/plain"), "OK"),
            (Some("text/html"), "\"hello\""),
            (None, "true"),
        ] {
            let read = OfConnect::read(&answer(kind, body), &Limits::default());
            assert_eq!(read, Ok(OfConnect::default()), "{body}");
            let read = OfMessage::read(&answer(kind, body), &Limits::default());
            assert_eq!(read, Ok(OfMessage::default()), "{body}");
        }
    }

    #[test]
    fn an_answer_to_connect() {
        let read = |body| OfConnect::read(&answer(None, body), &Limits::default());
        let greeted = read(r#"{"tags":["a",5,"a"],"reply":{"hello":[1,"b"]}}"#).unwrap();
        assert_eq!(greeted.tags, names(&["a", "5"]));
        assert_eq!(greeted.reply, text(r#"{"hello":[1,"b"]}"#));
        let refused = read(r#"{"refuse":true,"reason":"not on the list"}"#).unwrap();
        assert_eq!(refused.refused.as_deref(), Some("not on the list"));
        assert_eq!(
            read(r#"{"refuse":true}"#).unwrap().refused.as_deref(),
            Some("")
        );
        assert_eq!(read(r#"{"refuse":false}"#), Ok(OfConnect::default()));
        assert_eq!(reason_of(br#"{"reason":"no"}"#), "no");
        assert_eq!(reason_of(b"<html>"), "");
    }

    #[test]
    fn an_answer_to_a_message() {
        let read = |body| OfMessage::read(&answer(None, body), &Limits::default());
        let rows = [
            (r#"{"reply":"as it is"}"#, text("as it is")),
            (r#"{"reply":""}"#, text("")),
            (r#"{"reply":[1, 2]}"#, text("[1,2]")),
            (r#"{"reply":false}"#, text("false")),
            (r#"{"reply":null}"#, None),
        ];
        for (body, reply) in rows {
            assert_eq!(read(body).unwrap().reply, reply, "{body}");
        }
        let binary = read(r#"{"reply":"AP8=","encoding":"base64"}"#)
            .unwrap()
            .reply
            .unwrap();
        assert_eq!((binary.kind, &*binary.bytes), (Kind::Binary, &[0, 255][..]));

        let moved = read(r#"{"tags":{"add":["b","c"],"remove":["a"]}}"#).unwrap();
        assert_eq!(
            (moved.add, moved.remove),
            (names(&["b", "c"]), names(&["a"]))
        );
    }

    #[test]
    fn what_is_not_understood_is_said() {
        let json = Some("application/json");
        let many: Vec<usize> = (0..=Limits::default().tags_per_socket_max).collect();
        let many = format!("{{\"tags\":{many:?}}}");
        let rows = [
            ("OK", "claims to be"),
            ("[]", "not an object"),
            (r#"{"refuse":"yes"}"#, "neither true nor false"),
            (r#"{"reply":"x","encoding":"hex"}"#, "base64 only"),
            (
                r#"{"reply":"?","encoding":"base64"}"#,
                "not a text of base64",
            ),
            (r#"{"reply":5,"encoding":"base64"}"#, "not a text of base64"),
            (r#"{"tags":"a"}"#, "isn't an array"),
            (&many, "tags"),
        ];
        for (body, said) in rows {
            let Fault(fault) =
                OfConnect::read(&answer(json, body), &Limits::default()).unwrap_err();
            assert!(fault.contains(said), "{body}: {fault}");
        }
        let read = OfMessage::read(&answer(json, r#"{"tags":["a"]}"#), &Limits::default());
        assert!(read.is_err());
        let limits = Limits::default();
        let most: Vec<Arc<str>> = (0..limits.tags_per_socket_max)
            .map(|tag| Arc::from(tag.to_string()))
            .collect();
        assert_eq!(
            joined(most.clone(), &names(&["0"]), &limits),
            Ok(most.clone())
        );
        assert!(joined(most, &names(&["one more"]), &limits).is_err());
    }
}
