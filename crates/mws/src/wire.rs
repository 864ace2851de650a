//! What requests and replies look like (`mws.md` §3), and what is wrong with a request that does not.
//!
//! The texts of broken rules are those of the open-source server, because people know them.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pilvi_core::AppUser;
use pilvi_model::{Error, FieldError, Result, Timestamp};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::dress::{Kind, Payload};
use crate::history::{Kept, Part};
use crate::limits::Limits;
use crate::message_id::MessageId;
use crate::presence::Member;
use crate::reactor::question::Section;
use crate::reservation::Reservation;
use crate::roster::{Connected, Receivers};
use crate::socket_id::SocketId;

/// The one encoding of data that is not text.
const BASE64: &str = "base64";

/// So many elements of a list are told to be wrong, so that a refusal is not longer than what it refuses.
const ELEMENTS_TOLD_MAX: usize = 20;

/// A message, as it is posted and as it is answered: the keys in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Message {
    /// What is delivered, as it was posted.
    pub(crate) data: String,
    receivers: Named,
    /// `base64`, where it was posted.
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
    /// What is delivered where the data was encoded.
    #[serde(skip)]
    bytes: Option<Vec<u8>>,
}

/// Receivers by the names that the caller gave; `None` was null or missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Named {
    sockets: Option<Vec<String>>,
    tags: Option<Vec<String>>,
}

impl Message {
    /// Reads `POST /messages`. Any JSON value will do as data; what is not a string is delivered as its
    /// compact JSON text.
    pub(crate) fn read(mut body: Map<String, Value>, limits: &Limits) -> Result<Self> {
        let mut faults = Vec::new();
        let data = match body.remove("data") {
            None | Some(Value::Null) => {
                faults.push(fault("data", "Data can't be nil"));
                String::new()
            }
            Some(Value::String(text)) => text,
            Some(other) => other.to_string(),
        };
        let named = match body.remove("receivers") {
            None | Some(Value::Null) => {
                faults.push(fault("receivers", "Receivers can't be nil"));
                Named::NOBODY
            }
            Some(Value::Object(receivers)) => Named::read(receivers, &mut faults),
            Some(_) => {
                faults.push(fault("receivers", "Receivers isn't a hash"));
                Named::NOBODY
            }
        };
        let encoding = read_encoding(body.remove("encoding"), &mut faults);
        let bytes = encoding.and_then(|_| decode(&data, &mut faults));
        let message = Self {
            data,
            receivers: named,
            encoding,
            bytes,
        };
        message.checked(faults, limits)
    }

    /// Reads `POST /webhook_receivers/enginio`: each receiver is a tag, and who stands for everyone is `*`.
    pub(crate) fn read_webhook(mut body: Map<String, Value>, limits: &Limits) -> Result<Self> {
        let mut faults = Vec::new();
        // The documentation shows an object, the open-source server wanted its text.
        let data = match body.remove("payload") {
            Some(Value::String(text)) => text,
            Some(payload @ Value::Object(_)) => payload.to_string(),
            None | Some(Value::Null) => {
                faults.push(fault("payload", "Payload can't be nil"));
                String::new()
            }
            Some(_) => {
                faults.push(fault("payload", "Payload isn't a string"));
                String::new()
            }
        };
        let subjects = match body.remove("receivers") {
            None | Some(Value::Null) => {
                faults.push(fault("receivers", "Receivers can't be nil"));
                Vec::new()
            }
            Some(Value::Array(receivers)) => read_subjects(&receivers, &mut faults),
            Some(_) => {
                faults.push(fault("receivers", "Receivers isn't an array"));
                Vec::new()
            }
        };
        let (everyone, tags): (Vec<String>, _) = subjects
            .into_iter()
            .partition(|subject| subject == "aclSubject.*");
        let sockets = everyone.iter().take(1).map(|_| "*".to_owned()).collect();
        let named = Named {
            sockets: Some(sockets),
            tags: Some(tags),
        };
        let message = Self {
            data,
            receivers: named,
            encoding: None,
            bytes: None,
        };
        message.checked(faults, limits)
    }

    fn checked(self, mut faults: Vec<FieldError>, limits: &Limits) -> Result<Self> {
        let max = limits.receivers_max;
        if self.receivers.len() > max {
            let text = format!("Receivers can't be more than {max}");
            faults.push(fault("receivers", text));
        }
        if !faults.is_empty() {
            return Err(Error::invalid_fields(faults));
        }
        let max = limits.data_bytes_max;
        let bytes = self.payload().len();
        if bytes > max {
            let text = format!("a message can hold {max} bytes; this one has {bytes}");
            return Err(Error::too_large(text));
        }
        Ok(self)
    }

    pub(crate) fn kind(&self) -> Kind {
        match self.bytes {
            Some(_) => Kind::Binary,
            None => Kind::Text,
        }
    }

    /// What is delivered.
    pub(crate) fn payload(&self) -> &[u8] {
        self.bytes.as_deref().unwrap_or(self.data.as_bytes())
    }

    /// Whom the message is for. A name that cannot be a socket's id names nobody.
    pub(crate) fn receivers(&self) -> Receivers {
        let sockets = self.receivers.sockets.as_deref().unwrap_or_default();
        Receivers {
            everyone: sockets.iter().any(|name| name == "*"),
            sockets: sockets
                .iter()
                .filter_map(|name| SocketId::parse(name))
                .collect(),
            tags: self.receivers.tags.clone().unwrap_or_default(),
        }
    }
}

impl Named {
    const NOBODY: Self = Self {
        sockets: None,
        tags: None,
    };

    /// Other keys are dropped. A missing one is taken for null, as the Node client's author meant it.
    fn read(mut receivers: Map<String, Value>, faults: &mut Vec<FieldError>) -> Self {
        let mut list = |key: &str, title| {
            let property = format!("receivers.{key}");
            read_strings(receivers.remove(key), &property, title, faults)
        };
        Self {
            sockets: list("sockets", "Sockets"),
            tags: list("tags", "Tags"),
        }
    }

    fn len(&self) -> usize {
        [&self.sockets, &self.tags]
            .into_iter()
            .flatten()
            .map(Vec::len)
            .sum()
    }
}

/// A webhook's receivers as `<objectType>.<id>`.
fn read_subjects(receivers: &[Value], faults: &mut Vec<FieldError>) -> Vec<String> {
    let mut subjects = Vec::with_capacity(receivers.len());
    for (index, receiver) in receivers.iter().enumerate() {
        let text = |key| receiver.get(key).and_then(Value::as_str);
        match (text("objectType"), text("id")) {
            (Some(object_type), Some(id)) => subjects.push(format!("{object_type}.{id}")),
            _ if faults.len() >= ELEMENTS_TOLD_MAX => break,
            _ => faults.push(fault(
                "receivers",
                format!("Receivers[{index}] isn't a hash with an id and an objectType"),
            )),
        }
    }
    subjects
}

/// Reads the tags of `POST /sockets`: none when missing, each once.
pub(crate) fn read_tags(mut body: Map<String, Value>, limits: &Limits) -> Result<Vec<Arc<str>>> {
    let mut faults = Vec::new();
    let given = read_strings(body.remove("tags"), "tags", "Tags", &mut faults).unwrap_or_default();
    let (count_max, bytes_max) = (limits.tags_per_socket_max, limits.tag_bytes_max);
    if given.len() > count_max {
        faults.push(fault(
            "tags",
            format!("Tags can't be more than {count_max}"),
        ));
    } else if let Some(index) = given.iter().position(|tag| tag.len() > bytes_max) {
        let text = format!("Tags[{index}] can't be longer than {bytes_max} bytes");
        faults.push(fault("tags", text));
    }
    if !faults.is_empty() {
        return Err(Error::invalid_fields(faults));
    }
    let mut tags: Vec<Arc<str>> = Vec::with_capacity(given.len());
    for tag in given {
        if !tags.iter().any(|known| **known == *tag) {
            tags.push(tag.into());
        }
    }
    Ok(tags)
}

/// A list of strings; the Node client also puts numbers into it.
fn read_strings(
    value: Option<Value>,
    property: &str,
    title: &str,
    faults: &mut Vec<FieldError>,
) -> Option<Vec<String>> {
    let values = match value {
        None | Some(Value::Null) => return None,
        Some(Value::Array(values)) => values,
        Some(_) => {
            faults.push(fault(property, format!("{title} isn't an array")));
            return None;
        }
    };
    let mut texts = Vec::with_capacity(values.len());
    let mut wrong = 0;
    for (index, value) in values.into_iter().enumerate() {
        match value {
            Value::String(text) => texts.push(text),
            Value::Number(number) => texts.push(number.to_string()),
            Value::Bool(flag) => texts.push(flag.to_string()),
            _ if wrong == ELEMENTS_TOLD_MAX => break,
            _ => {
                wrong += 1;
                faults.push(fault(property, format!("{title}[{index}] isn't a string")));
            }
        }
    }
    Some(texts)
}

/// Text unless something else is said.
fn read_encoding(value: Option<Value>, faults: &mut Vec<FieldError>) -> Option<&'static str> {
    match value {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) if name == BASE64 => Some(BASE64),
        Some(_) => {
            faults.push(fault("encoding", "Encoding can only be base64"));
            None
        }
    }
}

fn decode(data: &str, faults: &mut Vec<FieldError>) -> Option<Vec<u8>> {
    let decoded = STANDARD.decode(data);
    if decoded.is_err() {
        faults.push(fault("data", "Data isn't base64"));
    }
    decoded.ok()
}

fn fault(property: &str, message: impl Into<String>) -> FieldError {
    FieldError {
        property: property.to_owned(),
        message: message.into(),
    }
}

/// The answer to `GET /websocket_uri`: exactly these keys.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SocketUri<'a> {
    #[serde(serialize_with = "as_text")]
    expires_at: Timestamp,
    uri: String,
    #[serde(serialize_with = "as_texts")]
    tags: &'a [Arc<str>],
}

/// The answer to `POST /sockets`: exactly these keys.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewSocket<'a> {
    #[serde(serialize_with = "as_text")]
    id: SocketId,
    #[serde(serialize_with = "as_texts")]
    tags: &'a [Arc<str>],
    #[serde(serialize_with = "as_text")]
    expires_at: Timestamp,
    uri: String,
}

impl<'a> SocketUri<'a> {
    /// `base` is where this client reaches us, such as `wss://host`.
    pub(crate) fn new(reservation: &'a Reservation, base: &str) -> Self {
        Self {
            expires_at: reservation.expires_at,
            uri: uri(base, reservation.id),
            tags: &reservation.tags,
        }
    }
}

impl<'a> NewSocket<'a> {
    pub(crate) fn new(reservation: &'a Reservation, base: &str) -> Self {
        Self {
            id: reservation.id,
            tags: &reservation.tags,
            expires_at: reservation.expires_at,
            uri: uri(base, reservation.id),
        }
    }
}

/// The tags by which webhooks reach a user: their own and one for each of their groups (`mws.md` §5), and what stands
/// for all who are signed in, which the access lists of private backends name.
pub(crate) fn tags_of(user: &AppUser) -> Vec<Arc<str>> {
    let mut tags = vec![Arc::from(format!("users.{}", user.id))];
    let mut groups = user.groups.clone();
    groups.sort();
    groups.dedup();
    tags.extend(
        groups
            .iter()
            .map(|group| Arc::from(format!("usergroups.{group}"))),
    );
    tags.push(Arc::from("aclSubject.authenticated"));
    tags
}

/// Always with the slash: old Qt clients build a broken request line without it (`mws.md` §6).
fn uri(base: &str, id: SocketId) -> String {
    format!("{base}/?token={id}")
}

/// A connected socket. The documentation calls the moment `connectedAt`, the open-source server `createdAt`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Socket<'a> {
    #[serde(serialize_with = "as_text")]
    id: SocketId,
    #[serde(serialize_with = "as_text")]
    connected_at: Timestamp,
    #[serde(serialize_with = "as_text")]
    created_at: Timestamp,
    #[serde(serialize_with = "as_texts")]
    tags: &'a [Arc<str>],
}

impl<'a> From<&'a Connected> for Socket<'a> {
    fn from(socket: &'a Connected) -> Self {
        Self {
            id: socket.id,
            connected_at: socket.connected_at,
            created_at: socket.connected_at,
            tags: &socket.tags,
        }
    }
}

/// The answer to `GET /sockets`.
#[derive(Debug, Serialize)]
pub(crate) struct Page<'a> {
    results: Vec<Socket<'a>>,
}

impl<'a> From<&'a [Connected]> for Page<'a> {
    fn from(sockets: &'a [Connected]) -> Self {
        Self {
            results: sockets.iter().map(Socket::from).collect(),
        }
    }
}

/// The answer to `GET /presence` for one tag.
#[derive(Debug, Serialize)]
pub(crate) struct Present<'a> {
    tag: &'a str,
    count: usize,
    results: Vec<Visible>,
}

#[derive(Debug, Serialize)]
struct Visible {
    #[serde(flatten)]
    member: Member,
    /// For the owner alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    socket: Option<String>,
}

impl<'a> Present<'a> {
    pub(crate) fn new(tag: &'a str, members: &Section, shows_sockets: bool) -> Self {
        let visible = |socket: &Connected| Visible {
            member: Member::of(socket),
            socket: shows_sockets.then(|| socket.id.to_string()),
        };
        Self {
            tag,
            count: members.total,
            results: members.sockets.iter().map(visible).collect(),
        }
    }
}

/// The answer to `GET /presence` for all tags.
#[derive(Debug, Serialize)]
pub(crate) struct PresentTags<'a> {
    results: Vec<PresentTag<'a>>,
}

#[derive(Debug, Serialize)]
struct PresentTag<'a> {
    tag: &'a str,
    count: usize,
}

impl<'a> From<&'a [(Arc<str>, usize)]> for PresentTags<'a> {
    fn from(tags: &'a [(Arc<str>, usize)]) -> Self {
        let results = tags
            .iter()
            .map(|(tag, count)| PresentTag { tag, count: *count });
        Self {
            results: results.collect(),
        }
    }
}

/// The answer to `GET /history`.
#[derive(Debug, Serialize)]
pub(crate) struct History {
    results: Vec<KeptMessage>,
    complete: bool,
}

#[derive(Debug, Serialize)]
struct KeptMessage {
    id: String,
    at: String,
    data: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
}

impl From<&Part> for History {
    fn from(part: &Part) -> Self {
        let shown = |kept: &Kept| {
            let Payload { kind, bytes } = kept.payload();
            let (data, encoding) = match kind {
                Kind::Text => (String::from_utf8_lossy(&bytes).into_owned(), None),
                Kind::Binary => (STANDARD.encode(&bytes), Some(BASE64)),
            };
            KeptMessage {
                id: kept.id.to_string(),
                at: Timestamp::from_millis(kept.id.millis()).to_millis_text(),
                data,
                encoding,
            }
        };
        Self {
            results: part.messages.iter().map(shown).collect(),
            complete: part.complete,
        }
    }
}

/// Reads the name of a message in a query.
pub(crate) fn read_message_id(text: Option<&str>) -> Result<Option<MessageId>> {
    let id = text.map(|text| {
        let id = MessageId::parse(text);
        id.ok_or_else(|| Error::invalid("after", "isn't the id of a message"))
    });
    id.transpose()
}

fn as_text<S: Serializer>(
    value: &impl std::fmt::Display,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn as_texts<S: Serializer>(
    tags: &[Arc<str>],
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_seq(tags.iter().map(|tag| &**tag))
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
