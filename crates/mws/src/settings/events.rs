//! What a gateway tells its app: that sockets connect, send messages and disconnect (bidirectional gateways).

use pilvi_core::egress::check_target;
use serde_json::{Map, Value, json};

use crate::events::secret::unarmoured;

/// The keys under which an instance keeps it. The secret never leaves the server but once, in the answer that made it.
pub(super) const EVENTS: &str = "events";
pub(crate) const EVENTS_SECRET: &str = "eventsSecret";

/// What an app may be told of, in the order in which it happens to a socket.
const KINDS: [&str; 3] = ["connect", "message", "disconnect"];

/// Where events go, and which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EventPlan {
    pub(crate) url: Box<str>,
    /// What they are signed with. `None`: nobody has asked for a secret yet, and they go unsigned.
    pub(crate) sealed_secret: Option<Box<[u8]>>,
    pub(crate) connect: bool,
    pub(crate) message: bool,
    pub(crate) disconnect: bool,
}

/// The value as it is kept, or what is wrong with it.
pub(super) fn normal(value: &Value) -> Result<Value, &'static str> {
    let events = match value {
        Value::Null => return Ok(Value::Null),
        Value::Object(events) => events,
        _ => return Err("Events can be null or {\"url\":\"https://...\",\"events\":[...]}"),
    };
    if events.keys().any(|key| key != "url" && key != "events") {
        return Err("Events have only the keys url and events");
    }
    let url = read_url(events)?;
    let kinds = read_kinds(events.get("events"))?;
    Ok(json!({"url": url, "events": kinds}))
}

fn read_url(events: &Map<String, Value>) -> Result<&str, &'static str> {
    let url = events.get("url").and_then(Value::as_str);
    let url = url.ok_or("Events need the url that they are posted to")?;
    match check_target(url) {
        Ok(_) => Ok(url),
        Err("is longer than 2048 bytes") => Err("The url of events is longer than 2048 bytes"),
        Err(_) => Err(
            "The url of events must begin with http:// or https://, have a host, and hold no user name or password",
        ),
    }
}

/// Those that were named, each once and in our order; all, when nothing was said.
fn read_kinds(named: Option<&Value>) -> Result<Vec<&'static str>, &'static str> {
    const ALLOWED: &str = "Events can be a list of connect, message and disconnect";
    let named = match named {
        None | Some(Value::Null) => return Ok(KINDS.to_vec()),
        Some(Value::Array(named)) => named,
        Some(_) => return Err(ALLOWED),
    };
    let known = |name: &Value| name.as_str().is_some_and(|name| KINDS.contains(&name));
    if named.is_empty() || !named.iter().all(known) {
        return Err(ALLOWED);
    }
    let is_named = |kind: &&str| named.iter().any(|name| name == *kind);
    Ok(KINDS.into_iter().filter(is_named).collect())
}

/// What a gateway does by what is kept, `secret` being its sealed secret. `None`: nothing is told.
pub(super) fn plan(kept: &Value, secret: Option<&Value>) -> Option<EventPlan> {
    let url = kept.get("url")?.as_str()?;
    let kinds = kept.get("events")?.as_array()?;
    let has = |kind: &str| kinds.iter().any(|name| name == kind);
    Some(EventPlan {
        url: url.into(),
        sealed_secret: secret.and_then(unarmoured).map(Vec::into_boxed_slice),
        connect: has("connect"),
        message: has("message"),
        disconnect: has("disconnect"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_events_are_told_unless_some_are_named() {
        let rows = [
            (json!({"url": "https://a.example/x"}), KINDS.to_vec()),
            (
                json!({"url": "http://a.example", "events": null}),
                KINDS.to_vec(),
            ),
            (
                json!({"url": "https://a.example", "events": ["message", "connect", "message"]}),
                vec!["connect", "message"],
            ),
        ];
        for (body, kinds) in rows {
            let kept = normal(&body).unwrap();
            assert_eq!(kept, json!({"url": body["url"], "events": kinds}));
            let plan = plan(&kept, Some(&json!("AAE="))).unwrap();
            assert_eq!(plan.sealed_secret.as_deref(), Some(&[0, 1][..]));
            assert_eq!(
                [plan.connect, plan.message, plan.disconnect],
                KINDS.map(|kind| kinds.contains(&kind))
            );
            assert_eq!(*plan.url, *body["url"].as_str().unwrap());
        }
        assert_eq!(plan(&normal(&json!(null)).unwrap(), None), None);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let rows = [
            (json!("https://a.example"), "null or"),
            (json!({}), "need the url"),
            (json!({"url": 1}), "need the url"),
            (json!({"url": "ftp://a.example"}), "http:// or https://"),
            (json!({"url": "https://me:pw@a.example"}), "password"),
            (
                json!({"url": format!("https://a.example/{}", "a".repeat(2048))}),
                "2048",
            ),
            (
                json!({"url": "https://a.example", "events": []}),
                "a list of",
            ),
            (
                json!({"url": "https://a.example", "events": ["open"]}),
                "a list of",
            ),
            (
                json!({"url": "https://a.example", "events": "connect"}),
                "a list of",
            ),
            (
                json!({"url": "https://a.example", "secret": "x"}),
                "only the keys",
            ),
        ];
        for (body, said) in rows {
            let fault = normal(&body).unwrap_err();
            assert!(fault.contains(said), "{body}: {fault}");
        }
    }
}
