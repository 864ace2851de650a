//! `pilvi eds update` and `delete`.

use clap::Args;
use serde_json::Value;

use super::collection::Collection;
use super::fields::{Field, field, object};
use super::query::print;
use super::target::Backend;
use crate::failure::{Code, Failure, Outcome};
use crate::session::Session;

#[derive(Args, Clone, Debug)]
pub(super) struct Update {
    /// The object type, such as todos
    #[arg(value_name = "TYPE")]
    collection: Collection,
    /// The object's id
    id: String,
    /// What to set: NAME=TEXT, NAME:=JSON, or a JSON object; what is not named stays, `NAME:=null` clears
    #[arg(required = true, value_name = "PROPERTY", value_parser = field)]
    properties: Vec<Field>,
    /// The JSON object holds operators, such as '{"$inc":{"count":1}}', carried out in one step
    #[arg(long)]
    atomic: bool,
}

impl Update {
    pub(super) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        backend: &Backend,
    ) -> Outcome {
        let mut resource = self.collection.object(&self.id);
        if self.atomic {
            resource += "/atomic";
        }
        let body = Value::Object(object(&self.properties));
        let next = not_there(&self.collection);
        let updated = backend
            .put(&resource, &body)
            .await
            .map_err(|failure| failure.on(Code::NotFound, next))?;
        print(session, &updated)?;
        Ok(0)
    }
}

#[derive(Args, Clone, Debug)]
pub(super) struct Delete {
    /// The object type, such as todos
    #[arg(value_name = "TYPE")]
    collection: Collection,
    /// The objects' ids
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

impl Delete {
    /// One after the other. What fails says how many are gone already.
    pub(super) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        backend: &Backend,
    ) -> Outcome {
        let mut answer = Value::Null;
        for (gone, id) in self.ids.iter().enumerate() {
            answer = backend
                .delete(&self.collection.object(id))
                .await
                .map_err(|failure| {
                    let failure = failure.on(Code::NotFound, not_there(&self.collection));
                    let before = match gone {
                        0 => String::new(),
                        gone => format!(" ({gone} before it were deleted)"),
                    };
                    Failure {
                        what: format!("{id} was not deleted{before}: {}", failure.what),
                        ..failure
                    }
                })?;
        }
        let line = match self.ids.as_slice() {
            [id] => format!("Deleted {id}."),
            several => format!("Deleted {} objects.", several.len()),
        };
        session.done(&answer, &line)
    }
}

fn not_there(collection: &Collection) -> String {
    let name = collection.short();
    format!("see `pilvi eds query {name}` for those that there are")
}
