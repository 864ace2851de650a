//! Webhooks: the rules of who is told of which changes (`eds.md` §13; the calls are Pilvi's own).

mod deliveries;
pub(crate) mod signing;

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use pilvi_base::Keyring;
use pilvi_core::egress::check_target;
use pilvi_model::{BackendId, Error, FieldError, ObjectType, Result, Timestamp, WebhookId};
use pilvi_store::backend::{Change, PayloadAs, StoredWebhook};
use serde_json::{Map, Value};

use crate::Eds;
use crate::caller::Caller;
pub(crate) use deliveries::{Attempt, REPLAYS_MAX};
use signing::Signing;

/// What a GET shows in place of a header's value. Sending it back keeps the value.
pub(crate) const MASK: &str = "********";

pub(crate) const HEADERS_MAX: usize = 20;
const HEADER_VALUE_MAX_BYTES: usize = 4096;
pub(crate) const TYPES_MAX: usize = 100;

/// Headers that say how the request itself is sent, which is not for a webhook to decide.
const RESERVED_HEADERS: [&str; 11] = [
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "te",
    "transfer-encoding",
    "upgrade",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
];

/// A webhook with its headers in the clear.
#[derive(Clone, Debug)]
pub(crate) struct Webhook {
    pub id: WebhookId,
    pub url: String,
    pub events: Option<Vec<Change>>,
    pub object_types: Option<Vec<ObjectType>>,
    pub headers: Headers,
    pub payload_as: PayloadAs,
    /// Whether it is told of changes.
    pub enabled: bool,
    pub signing: Signing,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Names and secret values of a webhook's own headers.
#[derive(Clone, Default)]
pub(crate) struct Headers(BTreeMap<String, String>);

impl Headers {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &String)> {
        self.0.iter()
    }

    /// For the request that carries them.
    pub(crate) fn to_map(&self) -> HeaderMap {
        let parsed = self.0.iter().filter_map(|(name, value)| {
            let mut value = HeaderValue::from_str(value).ok()?;
            value.set_sensitive(true);
            Some((HeaderName::try_from(name).ok()?, value))
        });
        parsed.collect()
    }

    fn seal(&self, keyring: &Keyring, backend: BackendId, webhook: WebhookId) -> Vec<u8> {
        let plain = serde_json::json!(self.0).to_string();
        keyring.seal(&context(backend, webhook), plain.as_bytes())
    }

    pub(crate) fn unseal(
        keyring: &Keyring,
        backend: BackendId,
        stored: &StoredWebhook,
    ) -> Result<Self> {
        let plain = keyring
            .open_sealed(&context(backend, stored.id), &stored.sealed_headers)
            .map_err(Error::internal)?;
        serde_json::from_slice(&plain)
            .map(Self)
            .map_err(Error::internal)
    }
}

impl std::fmt::Debug for Headers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

pub(crate) fn context(backend: BackendId, webhook: WebhookId) -> String {
    format!("headers of webhook {webhook} of backend {backend}")
}

/// Whether sealed headers are none at all.
pub(crate) fn is_empty(keyring: &Keyring, context: &str, sealed: &[u8]) -> bool {
    let plain = keyring.open_sealed(context, sealed);
    plain.is_ok_and(|plain| plain == b"{}")
}

impl Eds {
    pub(crate) async fn create_webhook(&self, caller: &Caller, body: Value) -> Result<Webhook> {
        caller.require_admin()?;
        let now = self.now();
        let fresh = Webhook {
            id: self.0.ids.next(now),
            url: String::new(),
            events: None,
            object_types: None,
            headers: Headers::default(),
            payload_as: PayloadAs::default(),
            enabled: true,
            signing: Signing::fresh(),
            created_at: now,
            updated_at: now,
        };
        let webhook = changed(fresh, body)?;
        // Noted before the webhook exists: after a crash between the two, a look at this backend finds nothing,
        // while the other order could leave deliveries that nobody looks for.
        self.0.store.note_webhooks_of(caller.backend.id).await?;
        caller
            .backend
            .insert_webhook(self.sealed(caller, &webhook))
            .await?;
        Ok(webhook)
    }

    pub(crate) async fn get_webhook(&self, caller: &Caller, id: WebhookId) -> Result<Webhook> {
        caller.require_admin()?;
        let stored = caller
            .backend
            .find_webhook(id)
            .await?
            .ok_or_else(|| missing(id))?;
        self.unsealed(caller, stored)
    }

    pub(crate) async fn list_webhooks(&self, caller: &Caller) -> Result<Vec<Webhook>> {
        caller.require_admin()?;
        let stored = caller.backend.list_webhooks().await?;
        stored
            .into_iter()
            .map(|webhook| self.unsealed(caller, webhook))
            .collect()
    }

    /// Like every PUT of this service it changes what it names; `null` takes a list back to "all".
    pub(crate) async fn update_webhook(
        &self,
        caller: &Caller,
        id: WebhookId,
        body: Value,
    ) -> Result<Webhook> {
        let before = self.get_webhook(caller, id).await?;
        let updated_at = self
            .now()
            .max(Timestamp::from_millis(before.updated_at.as_millis() + 1));
        let webhook = Webhook {
            updated_at,
            ..changed(before, body)?
        };
        match caller
            .backend
            .update_webhook(self.sealed(caller, &webhook))
            .await?
        {
            true => {
                // What waited while it was switched off.
                self.0.wakes.wake(caller.backend.id, id);
                Ok(webhook)
            }
            false => Err(missing(id)),
        }
    }

    pub(crate) async fn delete_webhook(&self, caller: &Caller, id: WebhookId) -> Result<()> {
        caller.require_admin()?;
        match caller.backend.delete_webhook(id).await? {
            true => Ok(()),
            false => Err(missing(id)),
        }
    }

    fn sealed(&self, caller: &Caller, webhook: &Webhook) -> StoredWebhook {
        StoredWebhook {
            id: webhook.id,
            url: webhook.url.clone(),
            events: webhook.events.clone(),
            object_types: webhook.object_types.clone(),
            sealed_headers: webhook
                .headers
                .seal(&self.0.keyring, caller.backend.id, webhook.id),
            sealed_signing: webhook.signing.newest().is_some().then(|| {
                let context = signing::context(caller.backend.id, webhook.id);
                webhook.signing.seal(&self.0.keyring, &context)
            }),
            enabled: webhook.enabled,
            payload_as: webhook.payload_as,
            created_at: webhook.created_at,
            updated_at: webhook.updated_at,
        }
    }

    fn unsealed(&self, caller: &Caller, stored: StoredWebhook) -> Result<Webhook> {
        let (keyring, backend) = (&self.0.keyring, caller.backend.id);
        let sealed = stored.sealed_signing.as_deref();
        Ok(Webhook {
            headers: Headers::unseal(keyring, backend, &stored)?,
            signing: Signing::unseal(keyring, &signing::context(backend, stored.id), sealed)?,
            enabled: stored.enabled,
            id: stored.id,
            url: stored.url,
            events: stored.events,
            object_types: stored.object_types,
            payload_as: stored.payload_as,
            created_at: stored.created_at,
            updated_at: stored.updated_at,
        })
    }
}

/// A webhook of an export, which holds none of its secrets, and the names of its headers.
pub(crate) fn from_export(
    said: &Value,
    keyring: &Keyring,
    backend: BackendId,
    now: Timestamp,
) -> Result<(StoredWebhook, Vec<String>)> {
    let id = said.get("id").and_then(Value::as_str);
    let id = id.and_then(|id| id.parse().ok()).ok_or_else(|| {
        Error::bad_request("a webhook of the export has no `id` of 24 hex characters")
    })?;
    let mut body = said.clone();
    if let Value::Object(body) = &mut body {
        body.remove("headers");
    }
    let fresh = Webhook {
        id,
        url: String::new(),
        events: None,
        object_types: None,
        headers: Headers::default(),
        payload_as: PayloadAs::default(),
        enabled: true,
        signing: Signing::default(),
        created_at: now,
        updated_at: now,
    };
    let webhook = changed(fresh, body).map_err(|error| {
        let faults: Vec<String> = error
            .fields
            .iter()
            .map(|fault| format!("its `{}` {}", fault.property, fault.message))
            .collect();
        let faults = faults.join(", ");
        Error::bad_request(format!(
            "the webhook {id} of the export is not one: {faults}"
        ))
    })?;
    let names = said.get("headerNames").and_then(Value::as_array);
    let names = names
        .into_iter()
        .flatten()
        .filter_map(|name| HeaderName::try_from(name.as_str()?).ok())
        .map(|name| name.to_string())
        .take(HEADERS_MAX);
    let stored = StoredWebhook {
        id,
        sealed_headers: webhook.headers.seal(keyring, backend, id),
        sealed_signing: None,
        url: webhook.url,
        events: webhook.events,
        object_types: webhook.object_types,
        payload_as: webhook.payload_as,
        enabled: webhook.enabled,
        created_at: now,
        updated_at: now,
    };
    Ok((stored, names.collect()))
}

fn missing(id: WebhookId) -> Error {
    Error::not_found(format!("there is no webhook {id}"))
}

/// The webhook with what `body` names; all faults are reported together. What it does not know it ignores, as the
/// service does everywhere, so that a client may send back what it got.
fn changed(mut webhook: Webhook, body: Value) -> Result<Webhook> {
    let Value::Object(body) = body else {
        return Err(Error::bad_request(
            "the body must be a JSON object such as {\"url\":\"https://example.com/hook\"}",
        ));
    };
    let mut faults = Vec::new();
    let mut note = |property: &str, fault: Result<(), String>| {
        if let Err(message) = fault {
            faults.push(FieldError {
                property: property.to_owned(),
                message,
            });
        }
    };
    note("url", set_url(&mut webhook, &body));
    note(
        "events",
        set_list(
            &mut webhook.events,
            body.get("events"),
            Change::ALL.len(),
            Change::from_name,
            EVENTS,
        ),
    );
    let known_type = |name: &str| name.parse().ok();
    note(
        "objectTypes",
        set_list(
            &mut webhook.object_types,
            body.get("objectTypes"),
            TYPES_MAX,
            known_type,
            TYPES,
        ),
    );
    note(
        "headers",
        set_headers(&mut webhook.headers, body.get("headers")),
    );
    note("payloadAs", set_payload_as(&mut webhook, &body));
    note("enabled", set_enabled(&mut webhook, &body));
    if faults.is_empty() {
        Ok(webhook)
    } else {
        Err(Error::invalid_fields(faults))
    }
}

const EVENTS: &str =
    "must be a list of one or more of create, update and delete; leave it out for all of them";
const TYPES: &str =
    "must be a list of 1 to 100 object types such as objects.todos; leave it out for all of them";

fn set_url(webhook: &mut Webhook, body: &Map<String, Value>) -> Result<(), String> {
    match body.get("url") {
        None if !webhook.url.is_empty() => Ok(()),
        Some(Value::String(url)) => {
            check_target(url)?;
            webhook.url.clone_from(url);
            Ok(())
        }
        _ => Err("can't be blank".to_owned()),
    }
}

fn set_list<T: PartialEq>(
    list: &mut Option<Vec<T>>,
    value: Option<&Value>,
    max: usize,
    parse: impl Fn(&str) -> Option<T>,
    fault: &str,
) -> Result<(), String> {
    let items = match value {
        None => return Ok(()),
        Some(Value::Null) => {
            *list = None;
            return Ok(());
        }
        Some(Value::Array(items)) => items,
        Some(_) => return Err(fault.to_owned()),
    };
    let parsed: Option<Vec<T>> = items.iter().map(|item| parse(item.as_str()?)).collect();
    match parsed.filter(|parsed| (1..=max).contains(&parsed.len())) {
        Some(parsed) => {
            *list = Some(parsed);
            Ok(())
        }
        None => Err(fault.to_owned()),
    }
}

fn set_headers(headers: &mut Headers, value: Option<&Value>) -> Result<(), String> {
    let given = match value {
        None => return Ok(()),
        Some(Value::Null) => &Map::new(),
        Some(Value::Object(given)) => given,
        Some(_) => return Err("must be an object of header names and values".to_owned()),
    };
    if given.len() > HEADERS_MAX {
        return Err(format!("has more than {HEADERS_MAX} entries"));
    }
    let mut next = BTreeMap::new();
    for (name, value) in given {
        let value = match value.as_str() {
            Some(MASK) => headers
                .0
                .get(name)
                .map(String::as_str)
                .ok_or_else(|| format!("`{name}` has no value yet"))?,
            Some(value) => value,
            None => return Err(format!("`{name}` must have a text as its value")),
        };
        check_header(name, value)?;
        next.insert(name.clone(), value.to_owned());
    }
    headers.0 = next;
    Ok(())
}

fn check_header(name: &str, value: &str) -> Result<(), String> {
    let parsed =
        HeaderName::try_from(name).map_err(|_| "has a name that no header can have".to_owned())?;
    if RESERVED_HEADERS.contains(&parsed.as_str()) || parsed.as_str().starts_with("pilvi-") {
        return Err(format!("must not set `{name}`, which Pilvi sets itself"));
    }
    if value.len() > HEADER_VALUE_MAX_BYTES || HeaderValue::from_str(value).is_err() {
        return Err(format!("`{name}` has a value that no header can have"));
    }
    Ok(())
}

fn set_payload_as(webhook: &mut Webhook, body: &Map<String, Value>) -> Result<(), String> {
    match body.get("payloadAs") {
        None => Ok(()),
        Some(value) => {
            let form = value.as_str().and_then(PayloadAs::from_name);
            webhook.payload_as = form.ok_or("must be object or string")?;
            Ok(())
        }
    }
}

fn set_enabled(webhook: &mut Webhook, body: &Map<String, Value>) -> Result<(), String> {
    match body.get("enabled") {
        None => Ok(()),
        Some(Value::Bool(enabled)) => {
            webhook.enabled = *enabled;
            Ok(())
        }
        Some(_) => Err("must be true or false".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fresh() -> Webhook {
        let now = Timestamp::from_millis(0);
        Webhook {
            id: "51cdbc08989e975ec300772a".parse().unwrap(),
            url: String::new(),
            events: None,
            object_types: None,
            headers: Headers::default(),
            payload_as: PayloadAs::Object,
            enabled: true,
            signing: Signing::default(),
            created_at: now,
            updated_at: now,
        }
    }

    fn faults(body: Value) -> Vec<String> {
        let error = changed(fresh(), body).unwrap_err();
        error
            .fields
            .into_iter()
            .map(|field| field.property)
            .collect()
    }

    #[test]
    fn a_url_is_all_that_is_needed() {
        let webhook = changed(fresh(), json!({"url": "https://example.com/hook"})).unwrap();
        assert_eq!(webhook.events, None);
        assert_eq!(webhook.object_types, None);
        assert_eq!(webhook.payload_as, PayloadAs::Object);
    }

    #[test]
    fn all_faults_are_named_together() {
        let body = json!({
            "events": ["create", "explode"],
            "objectTypes": [],
            "headers": {"Host": "x"},
            "payloadAs": 1,
            "enabled": "yes",
        });
        assert_eq!(
            faults(body),
            [
                "url",
                "events",
                "objectTypes",
                "headers",
                "payloadAs",
                "enabled"
            ]
        );
    }

    #[test]
    fn headers_that_would_break_the_request_are_refused() {
        for name in [
            "Content-Length",
            "transfer-encoding",
            "Pilvi-Delivery",
            "Webhook-Signature",
            "a b",
            "x\r\ny",
            "",
        ] {
            assert_eq!(
                faults(json!({"url": "http://x/", "headers": {name: "v"}})),
                ["headers"],
                "{name}"
            );
        }
        assert_eq!(
            faults(json!({"url": "http://x/", "headers": {"X": "a\r\nY: b"}})),
            ["headers"]
        );
    }

    #[test]
    fn a_masked_value_sent_back_is_kept() {
        let before = changed(
            fresh(),
            json!({"url": "http://x/", "headers": {"A": "secret", "B": "other"}}),
        )
        .unwrap();
        let after = changed(
            before,
            json!({"headers": {"A": MASK}, "events": ["delete"]}),
        )
        .unwrap();
        assert_eq!(
            after.headers.0,
            BTreeMap::from([("A".to_owned(), "secret".to_owned())])
        );
        assert_eq!(after.events, Some(vec![Change::Delete]));
        let all = changed(after, json!({"events": null})).unwrap();
        assert_eq!(all.events, None);
        assert!(!format!("{:?}", all.headers).contains("secret"));
    }
}
