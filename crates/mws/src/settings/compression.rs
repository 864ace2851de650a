//! Whether a gateway's sockets may compress what they send and receive (RFC 7692).

use serde_json::Value;

/// The key under which an instance keeps it.
pub(super) const COMPRESSION: &str = "compression";

/// The value as it is kept, or what is wrong with it.
pub(super) fn normal(value: &Value) -> Result<Value, &'static str> {
    match value {
        Value::Null => Ok(Value::Bool(false)),
        Value::Bool(_) => Ok(value.clone()),
        _ => Err("Compression can be true or false"),
    }
}

pub(super) fn plan(kept: &Value) -> bool {
    kept.as_bool().unwrap_or_default()
}
