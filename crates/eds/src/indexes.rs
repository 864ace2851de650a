//! Indexes, and which would help. Pilvi's own calls, for administrators: the original made indexes as its schemas said
//! and told nobody.

use pilvi_model::{Error, ObjectId, ObjectType, Result};
use pilvi_store::backend::{IndexInfo, SlowQuery};
use serde_json::{Value, json};

use crate::Eds;
use crate::caller::Caller;

/// Longer names of properties are none of an index.
pub(crate) const PROPERTY_BYTES_MAX: usize = 400;

impl Eds {
    pub(crate) async fn list_indexes(&self, caller: &Caller) -> Result<Vec<IndexInfo>> {
        caller.require_admin()?;
        caller.backend.list_indexes().await
    }

    pub(crate) async fn get_index(&self, caller: &Caller, id: ObjectId) -> Result<IndexInfo> {
        caller.require_admin()?;
        let found = caller.backend.find_index(id).await?;
        found.ok_or_else(|| Error::not_found("there is no such index"))
    }

    /// Has an index made, unless there is one. Says whether it is new.
    pub(crate) async fn create_index(
        &self,
        caller: &Caller,
        body: &Value,
    ) -> Result<(IndexInfo, bool)> {
        caller.require_admin()?;
        let text = |name: &str| {
            let text = body.get(name).and_then(Value::as_str);
            text.ok_or_else(|| Error::invalid(name, "is required, as a text"))
        };
        let object_type: ObjectType = text("objectType")?
            .parse()
            .map_err(|error: Error| Error::invalid("objectType", error.message))?;
        let property = text("property")?;
        if property.len() > PROPERTY_BYTES_MAX {
            let message = format!("has at most {PROPERTY_BYTES_MAX} bytes");
            return Err(Error::invalid("property", message));
        }
        let now = self.now();
        caller
            .backend
            .create_index(object_type, property.to_owned(), now)
            .await
    }

    pub(crate) async fn remove_index(&self, caller: &Caller, id: ObjectId) -> Result<()> {
        caller.require_admin()?;
        caller.backend.remove_index(id).await
    }

    /// What was slow, with the index that would have helped.
    pub(crate) async fn list_slow_queries(&self, caller: &Caller) -> Result<Vec<SlowQuery>> {
        caller.require_admin()?;
        caller.backend.list_slow_queries().await
    }

    pub(crate) async fn forget_slow_queries(&self, caller: &Caller) -> Result<()> {
        caller.require_admin()?;
        caller.backend.forget_slow_queries().await
    }
}

pub(crate) fn to_json(index: &IndexInfo) -> Value {
    let moment = |moment: Option<pilvi_model::Timestamp>| moment.map(|at| at.to_millis_text());
    json!({
        "id": index.id.to_string(),
        "objectType": index.object_type.as_str(),
        "property": index.property,
        "origin": index.origin.as_str(),
        "state": index.state.as_str(),
        "progress": {"done": index.filled, "total": index.total},
        "createdAt": index.created_at.to_millis_text(),
        "readyAt": moment(index.ready_at),
        "lastUsedAt": moment(index.used_at),
    })
}

pub(crate) fn slow_query_to_json(slow: &SlowQuery) -> Value {
    let index = slow
        .property
        .as_ref()
        .map(|property| json!({"objectType": slow.object_type.as_str(), "property": property}));
    json!({
        "objectType": slow.object_type.as_str(),
        "query": slow.shape,
        "count": slow.count,
        "worstMs": u64::try_from(slow.worst.as_millis()).unwrap_or(u64::MAX),
        "firstAt": slow.first_at.to_millis_text(),
        "lastAt": slow.last_at.to_millis_text(),
        "index": index,
    })
}
