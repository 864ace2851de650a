//! The shapes of EDS replies.

use std::time::Duration;

use http::StatusCode;
use pilvi_model::{BackendId, Timestamp, WebhookId};
use pilvi_store::backend::{Change, Delivery, Letter, Replayed};
use pilvi_web::Reply;
use serde_json::{Map, Value, json};

use crate::include::Listed;
use crate::transfers::ShownImport;
use crate::webhooks::signing::Fresh;
use crate::webhooks::{Attempt, MASK, Webhook};

/// The envelope of a list (`eds.md` §5.2). Objects are stored as they are sent, so they are only strung together.
/// `next` is an addition: it is there when another page may follow.
pub(crate) fn list(echo: &Value, Listed { results, next }: &Listed) -> Reply {
    let size = results.iter().map(|text| text.len() + 1).sum::<usize>();
    let mut text = String::with_capacity(size + 256);
    text.push_str("{\"query\":");
    text.push_str(&echo.to_string());
    text.push_str(",\"results\":[");
    for (index, result) in results.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(result);
    }
    text.push(']');
    if let Some(next) = next {
        // A cursor has nothing that JSON would escape.
        text.push_str(",\"next\":\"");
        text.push_str(next);
        text.push('"');
    }
    text.push('}');
    Reply::raw(StatusCode::OK, text)
}

/// Where a live query can be followed, and how long each address lets somebody in.
pub(crate) fn live_url(
    socket: &str,
    socket_until: Timestamp,
    events: &str,
    events_until: Timestamp,
) -> Reply {
    Reply::ok(&json!({
        "webSocketUrl": socket,
        "webSocketUrlExpiresAt": socket_until.to_millis_text(),
        "eventsUrl": events,
        "eventsUrlExpiresAt": events_until.to_millis_text(),
    }))
}

/// A count has no `results`: one client would take it for a list otherwise.
pub(crate) fn count(echo: &Value, count: u64) -> Reply {
    Reply::ok(&json!({"query": echo, "count": count}))
}

/// A webhook as its owner sees it: the values of its headers stay hidden.
pub(crate) fn webhook(webhook: &Webhook) -> Value {
    let headers: Map<String, Value> = webhook
        .headers
        .iter()
        .map(|(name, _)| (name.clone(), json!(MASK)))
        .collect();
    let events = webhook.events.as_ref().map(|events| {
        events
            .iter()
            .map(|event| event.as_str())
            .collect::<Vec<_>>()
    });
    let types = webhook
        .object_types
        .as_ref()
        .map(|types| types.iter().map(ToString::to_string).collect::<Vec<_>>());
    json!({
        "id": webhook.id.to_string(),
        "url": webhook.url,
        "events": events.unwrap_or_else(|| Change::ALL.iter().map(|event| event.as_str()).collect()),
        "objectTypes": types,
        "headers": headers,
        "payloadAs": webhook.payload_as.as_str(),
        "enabled": webhook.enabled,
        "signed": webhook.signing.newest().is_some(),
        "createdAt": webhook.created_at.to_millis_text(),
        "updatedAt": webhook.updated_at.to_millis_text(),
    })
}

/// A webhook that was just made, with its secret: this is the one time that it is shown.
pub(crate) fn new_webhook(new: &Webhook) -> Value {
    let mut shown = webhook(new);
    if let Some(secret) = new.signing.newest() {
        shown["secret"] = secret.expose().into();
    }
    shown
}

/// A secret that was just made.
pub(crate) fn fresh_secret(webhook: WebhookId, fresh: &Fresh) -> Value {
    json!({
        "id": webhook.to_string(),
        "secret": fresh.secret.expose(),
        "previousUntil": fresh.previous_until.map(|until| until.to_millis_text()),
    })
}

pub(crate) fn attempt(attempt: &Attempt) -> Value {
    json!({
        "delivered": attempt.error.is_none(),
        "status": attempt.status,
        "answer": attempt.answer,
        "error": attempt.error,
        "durationMs": millis(attempt.took),
    })
}

pub(crate) fn replayed(replayed: Replayed) -> Value {
    json!({"replayed": replayed.queued, "left": replayed.left})
}

pub(crate) fn import(import: &ShownImport) -> Value {
    let progress = import
        .progress
        .map(|progress| json!({"step": progress.step, "done": progress.done, "of": progress.of}));
    json!({
        "id": import.id.to_string(),
        "state": import.stage,
        "bytes": import.bytes,
        "received": import.received,
        "replace": import.replace,
        "progress": progress,
        "error": import.error,
        "warnings": import.warnings,
        "createdAt": import.created_at.to_millis_text(),
    })
}

pub(crate) fn imports(imports: &[ShownImport]) -> Reply {
    let results: Vec<Value> = imports.iter().map(import).collect();
    Reply::ok(&json!({ "results": results }))
}

fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn webhooks(webhooks: &[Webhook]) -> Reply {
    let results: Vec<Value> = webhooks.iter().map(webhook).collect();
    Reply::ok(&json!({ "results": results }))
}

pub(crate) fn deliveries(deliveries: &[Delivery]) -> Reply {
    let results: Vec<Value> = deliveries.iter().map(delivery).collect();
    Reply::ok(&json!({ "results": results }))
}

/// One delivery with what it says; `payload` is null when that is not kept any more.
pub(crate) fn whole_delivery(
    backend: BackendId,
    told: &Delivery,
    letter: Option<&Letter>,
) -> Reply {
    let mut text = delivery(told).to_string();
    text.pop();
    text.push_str(",\"payload\":");
    match letter {
        None => text.push_str("null"),
        Some(letter) => {
            let meta = json!({
                "backendId": backend.to_string(),
                "eventName": told.event.as_str(),
                "requestId": letter.request,
                "userId": letter.user,
            });
            text.push_str(&format!(
                "{{\"object\":{},\"meta\":{meta}}}",
                letter.document
            ));
        }
    }
    let receivers = letter.map(|letter| letter.readers.subjects().to_json());
    text.push_str(&format!(",\"receivers\":{}}}", json!(receivers)));
    Reply::raw(StatusCode::OK, text)
}

pub(crate) fn delivery(delivery: &Delivery) -> Value {
    json!({
        "id": delivery.id(),
        "event": delivery.event.as_str(),
        "objectType": delivery.object_type,
        "objectId": delivery.object_id.to_string(),
        "state": delivery.state.as_str(),
        "attempts": delivery.attempts,
        "lastStatus": delivery.status,
        "lastError": delivery.error,
        "lastAnswer": delivery.answer,
        "durationMs": delivery.took.map(millis),
        "requestId": delivery.request,
        "createdAt": delivery.created_at.to_millis_text(),
        "lastAttemptAt": delivery.attempted_at.map(|at| at.to_millis_text()),
        "nextAttemptAt": delivery.next_at.map(|at| at.to_millis_text()),
    })
}
