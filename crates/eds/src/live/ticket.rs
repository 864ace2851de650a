//! Tickets: an address that carries who asked for it and what they want to hear of, so that clients which cannot send
//! headers with a handshake can follow. They are sealed with the server's key, so nobody reads or makes them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pilvi_base::{Keyring, Secret};
use pilvi_model::query::Filter;
use pilvi_model::{BackendId, Error, Result, Timestamp};
use pilvi_store::backend::Position;
use serde_json::{Value, json};

use super::{Beginning, Subset, Topic};
use crate::caller::Shown;

const CONTEXT: &str = "eds live ticket";

#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    pub(super) backend: BackendId,
    pub(super) shown: Shown,
    pub(super) topic: Topic,
    pub(super) beginning: Beginning,
    /// Until when it lets somebody in. Who is in stays in.
    pub(super) until: Timestamp,
}

impl Ticket {
    pub(crate) fn until(&self) -> Timestamp {
        self.until
    }

    /// Begins behind a position that the client says when it comes.
    pub(crate) fn since(&mut self, position: Position) {
        self.beginning.since = Some(position);
    }

    /// Whether it is for a live query.
    pub(crate) fn is_query(&self) -> bool {
        matches!(self.topic, Topic::Query { .. })
    }

    pub(super) fn seal(&self, keyring: &Keyring) -> String {
        let (kind, token) = match &self.shown {
            Shown::Nothing => ("nothing", None),
            Shown::MasterKey(key) => ("masterKey", Some(key)),
            Shown::Bearer(token) => ("bearer", Some(token)),
            Shown::Session(token) => ("session", Some(token)),
        };
        let mut plain = json!({
            "backend": self.backend.to_string(),
            "kind": kind,
            "token": token.map(Secret::expose),
            "until": self.until.as_millis(),
            "since": self.beginning.since.map(|since| since.to_string()),
            "snapshot": self.beginning.snapshot,
        });
        match &self.topic {
            Topic::Stream(subset) => plain["stream"] = subset.source().clone(),
            Topic::Query {
                object_type,
                filter,
            } => {
                plain["objectType"] = object_type.as_str().into();
                plain["q"] = filter.source().clone();
            }
        }
        URL_SAFE_NO_PAD.encode(keyring.seal(CONTEXT, plain.to_string().as_bytes()))
    }

    pub(super) fn open(keyring: &Keyring, token: &str) -> Result<Self> {
        let none = || {
            Error::forbidden(
                "the ticket in this address is none of this server; ask for a new address",
            )
        };
        let sealed = URL_SAFE_NO_PAD.decode(token).map_err(|_| none())?;
        let plain = keyring.open_sealed(CONTEXT, &sealed).map_err(|_| none())?;
        let plain: Value = serde_json::from_slice(&plain).map_err(|_| none())?;
        Self::read(&plain).ok_or_else(none)
    }

    fn read(plain: &Value) -> Option<Self> {
        let token = || Some(Secret::new(plain["token"].as_str()?));
        let shown = match plain["kind"].as_str()? {
            "nothing" => Shown::Nothing,
            "masterKey" => Shown::MasterKey(token()?),
            "bearer" => Shown::Bearer(token()?),
            "session" => Shown::Session(token()?),
            _ => return None,
        };
        let topic = match plain.get("stream") {
            Some(subset) => Topic::Stream(Subset::from_json(subset.clone()).ok()?),
            None => Topic::Query {
                object_type: plain["objectType"].as_str()?.parse().ok()?,
                filter: Filter::from_json(plain["q"].clone()).ok()?,
            },
        };
        let since = match &plain["since"] {
            Value::String(since) => Some(Position::parse(since)?),
            _ => None,
        };
        Some(Self {
            backend: plain["backend"].as_str()?.parse().ok()?,
            shown,
            topic,
            beginning: Beginning {
                since,
                snapshot: plain["snapshot"].as_bool()?,
            },
            until: Timestamp::from_millis(plain["until"].as_u64()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket() -> Ticket {
        Ticket {
            backend: BackendId::from_bytes([1; 12]),
            shown: Shown::Bearer(Secret::new("very secret")),
            topic: Topic::Query {
                object_type: "objects.todos".parse().unwrap(),
                filter: Filter::parse(r#"{"done":false}"#).unwrap(),
            },
            beginning: Beginning {
                since: Position::parse("17-0a1b2c3d"),
                snapshot: true,
            },
            until: Timestamp::from_millis(1000),
        }
    }

    #[test]
    fn a_ticket_comes_back_as_it_was() {
        let keyring = Keyring::from_bytes([7; 32]);
        let sealed = ticket().seal(&keyring);
        let opened = Ticket::open(&keyring, &sealed).unwrap();
        assert_eq!(opened.topic, ticket().topic);
        assert_eq!(opened.beginning, ticket().beginning);
        assert_eq!(opened.backend, ticket().backend);
        assert!(matches!(opened.shown, Shown::Bearer(token) if token.expose() == "very secret"));
    }

    #[test]
    fn nobody_reads_a_ticket_or_makes_one() {
        let keyring = Keyring::from_bytes([7; 32]);
        let sealed = ticket().seal(&keyring);
        let bytes = URL_SAFE_NO_PAD.decode(&sealed).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("secret") && !text.contains("todos"));
        assert!(Ticket::open(&Keyring::from_bytes([8; 32]), &sealed).is_err());
        let mut changed = bytes;
        changed[20] ^= 1;
        for wrong in ["", "!", &URL_SAFE_NO_PAD.encode(changed)] {
            assert!(Ticket::open(&keyring, wrong).is_err(), "{wrong}");
        }
    }
}
