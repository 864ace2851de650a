//! The shapes of EDS replies.

use http::StatusCode;
use pilvi_store::backend::{Change, Delivery};
use pilvi_web::Reply;
use serde_json::{Map, Value, json};

use crate::include::Listed;
use crate::webhooks::{MASK, Webhook};

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
        "createdAt": webhook.created_at.to_millis_text(),
        "updatedAt": webhook.updated_at.to_millis_text(),
    })
}

pub(crate) fn webhooks(webhooks: &[Webhook]) -> Reply {
    let results: Vec<Value> = webhooks.iter().map(webhook).collect();
    Reply::ok(&json!({ "results": results }))
}

pub(crate) fn deliveries(deliveries: &[Delivery]) -> Reply {
    let results: Vec<Value> = deliveries.iter().map(delivery).collect();
    Reply::ok(&json!({ "results": results }))
}

fn delivery(delivery: &Delivery) -> Value {
    json!({
        "id": delivery.id(),
        "event": delivery.event.as_str(),
        "objectType": delivery.object_type,
        "objectId": delivery.object_id.to_string(),
        "state": delivery.state.as_str(),
        "attempts": delivery.attempts,
        "lastStatus": delivery.status,
        "lastError": delivery.error,
        "createdAt": delivery.created_at.to_millis_text(),
        "lastAttemptAt": delivery.attempted_at.map(|at| at.to_millis_text()),
        "nextAttemptAt": delivery.next_at.map(|at| at.to_millis_text()),
    })
}
