//! `POST /v1/batch`: several writes, all or none.
//!
//! ```json
//! {"operations":[
//!   {"method":"POST","path":"/v1/objects/todos","body":{"title":"A"}},
//!   {"method":"PUT","path":"/v1/objects/todos/51cdbc08989e975ec300772a","body":{"done":true}},
//!   {"method":"DELETE","path":"/v1/objects/todos/51cdbc08989e975ec300772b"}]}
//! ```
//!
//! The reply has a result for each operation in order, with the status and body that the single call would have had.

use pilvi_model::update::Update;
use pilvi_model::{AccessChange, AccessList, Error, ObjectType, Properties, Result};
use pilvi_store::backend::{Mutation, Written};
use pilvi_web::Reply;
use serde_json::{Value, json};

use crate::Eds;
use crate::caller::Caller;
use crate::routes::object_id;

/// Writes that one call may carry out: they hold up all others of the backend.
pub(crate) const OPERATIONS_MAX: usize = 100;

impl Eds {
    pub(crate) async fn batch(&self, caller: &Caller, body: Value) -> Result<Reply> {
        let Some(Value::Array(operations)) = body.get("operations") else {
            return Err(Error::bad_request(
                "the body must be {\"operations\":[…]}, each with a method, a path and mostly a body",
            ));
        };
        if operations.len() > OPERATIONS_MAX {
            let message = format!("a batch has at most {OPERATIONS_MAX} operations; send several");
            return Err(Error::bad_request(message));
        }
        let read = |(place, operation)| {
            self.operation(operation).map_err(|mut error| {
                let prefix = format!("operations[{place}]");
                error.message = format!("{prefix}: {}", error.message);
                for field in &mut error.fields {
                    field.message = format!("{} (in {prefix})", field.message);
                }
                error
            })
        };
        let mutations: Vec<Mutation> = operations
            .iter()
            .enumerate()
            .map(read)
            .collect::<Result<_>>()?;
        let kinds: Vec<Kind> = mutations.iter().map(Kind::of).collect();
        let all = match mutations.is_empty() {
            true => Vec::new(),
            false => self.write_all(caller, mutations).await?,
        };
        Ok(reply(&kinds, &all))
    }

    fn operation(&self, operation: &Value) -> Result<Mutation> {
        let text = |name: &str| operation.get(name).and_then(Value::as_str);
        let (Some(method), Some(path)) = (text("method"), text("path")) else {
            return Err(Error::bad_request(
                "an operation needs a `method` and a `path`, such as \"POST\" and \"/v1/objects/todos\"",
            ));
        };
        let body = || operation.get("body").cloned().unwrap_or(Value::Null);
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        let ["v1", "objects", name, rest @ ..] = segments.as_slice() else {
            return Err(unknown(method, path));
        };
        let object_type = ObjectType::custom(name)?;
        let access =
            |change: fn(AccessList) -> AccessChange| AccessList::from_json(&body()).map(change);
        match (method, rest) {
            ("POST", []) => Ok(Mutation::Create {
                id: self.new_id(),
                object_type,
                properties: Properties::from_json(body())?,
            }),
            ("PUT" | "PATCH", [id]) => Ok(Mutation::Update {
                object_type,
                id: object_id(id)?,
                changes: Properties::from_json(body())?,
            }),
            ("DELETE", [id]) => Ok(Mutation::Delete {
                object_type,
                id: object_id(id)?,
            }),
            ("PUT", [id, "atomic"]) => Ok(Mutation::Atomic {
                update: Update::from_json(&body(), &object_type)?,
                object_type,
                id: object_id(id)?,
            }),
            (_, [id, "access"]) => Ok(Mutation::Access {
                object_type,
                id: object_id(id)?,
                change: match method {
                    "POST" => access(AccessChange::Replace)?,
                    "PUT" => access(AccessChange::Add)?,
                    "DELETE" => access(AccessChange::Withdraw)?,
                    _ => return Err(unknown(method, path)),
                },
            }),
            _ => Err(unknown(method, path)),
        }
    }
}

fn unknown(method: &str, path: &str) -> Error {
    let shown: String = format!("{method} {path}").chars().take(100).collect();
    Error::bad_request(format!(
        "`{shown}` cannot be part of a batch; it takes POST on /v1/objects/TYPE, PUT and DELETE on \
         /v1/objects/TYPE/ID, PUT on its /atomic, and POST, PUT and DELETE on its /access"
    ))
}

/// What decides about the form of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Created,
    Changed,
    Deleted,
    Access,
}

impl Kind {
    fn of(mutation: &Mutation) -> Self {
        match mutation {
            Mutation::Create { .. } => Self::Created,
            Mutation::Delete { .. } => Self::Deleted,
            Mutation::Access { .. } => Self::Access,
            _ => Self::Changed,
        }
    }
}

/// Objects are stored as they are sent, so their texts are only strung together.
fn reply(kinds: &[Kind], all: &[Written]) -> Reply {
    let result = |(kind, written): (&Kind, &Written)| {
        let access = written.access.as_ref().map(AccessList::to_json);
        let body = match kind {
            Kind::Deleted => "{}".to_owned(),
            Kind::Access => access.unwrap_or_else(|| json!({})).to_string(),
            Kind::Created | Kind::Changed => written.object.text.clone(),
        };
        let status = if *kind == Kind::Created { 201 } else { 200 };
        format!(r#"{{"status":{status},"body":{body}}}"#)
    };
    let results: Vec<String> = kinds.iter().zip(all).map(result).collect();
    let text = format!(r#"{{"results":[{}]}}"#, results.join(","));
    Reply::raw(http::StatusCode::OK, text)
}
