//! `pilvi eds indexes`: which properties are found fast, and which should be.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::collection::Collection;
use super::target::Backend;
use crate::failure::{Code, Failure, Outcome, Result};
use crate::progress::Progress;
use crate::session::{Session, results, text};
use crate::table::{elastic, whole};
use crate::url::segment;

/// How long to wait before looking again how far an index is.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

#[derive(Args, Clone, Debug)]
pub(super) struct Indexes {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// List the indexes (this is what no verb does, too)
    List,
    /// List the queries that were slow, with the index that would help
    Advise {
        /// Make every index that would help
        #[arg(long, conflicts_with = "forget")]
        create: bool,
        /// Forget what was slow so far
        #[arg(long)]
        forget: bool,
    },
    /// Have an index made, while everybody goes on writing
    Create {
        #[arg(value_name = "TYPE")]
        collection: Collection,
        /// A property such as title or address.city; of a reference its id, such as author.id
        property: String,
        /// Come back when it is ready
        #[arg(long)]
        wait: bool,
    },
    /// Remove an index; one that the schema asks for goes when the schema changes
    Remove {
        #[arg(value_name = "TYPE")]
        collection: Collection,
        property: String,
    },
}

impl Indexes {
    pub(super) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        backend: &Backend,
    ) -> Outcome {
        match &self.verb {
            None | Some(Verb::List) => list(session, backend).await,
            Some(Verb::Advise { create: true, .. }) => create_advised(session, backend).await,
            Some(Verb::Advise { forget: true, .. }) => {
                let answer = backend.delete("index_advice").await?;
                session.done(&answer, "Forgot what was slow so far.")
            }
            Some(Verb::Advise { .. }) => advise(session, backend).await,
            Some(Verb::Create {
                collection,
                property,
                wait,
            }) => create(session, backend, (collection, property), *wait).await,
            Some(Verb::Remove {
                collection,
                property,
            }) => {
                let index = find(backend, collection, property).await?;
                let path = format!("indexes/{}", segment(&text(&index, "id")));
                let answer = backend.delete(&path).await?;
                let name = named(&index);
                session.done(&answer, &format!("Removed the index of {name}."))
            }
        }
    }
}

/// As users type it.
fn short(object_type: &str) -> &str {
    object_type.strip_prefix("objects.").unwrap_or(object_type)
}

fn named(index: &Value) -> String {
    let object_type = text(index, "objectType");
    format!("{} {}", short(&object_type), text(index, "property"))
}

async fn list(session: &mut Session<'_, '_>, backend: &Backend) -> Outcome {
    let answer = backend.get("indexes").await?;
    let columns = [
        elastic("TYPE"),
        elastic("PROPERTY"),
        whole("STATE"),
        whole("FROM"),
        whole("LAST USED"),
    ];
    let empty = "There is no index yet; slow queries get one by themselves, and `pilvi eds indexes create` makes one.";
    session.show_list(&answer, empty, &columns, |index| {
        [
            short(&text(index, "objectType")).to_owned(),
            text(index, "property"),
            state(index),
            origin(&text(index, "origin")).to_owned(),
            text(index, "lastUsedAt"),
        ]
    })
}

fn origin(origin: &str) -> &str {
    match origin {
        "asked" => "you",
        "slow" => "a slow query",
        "schema" => "the schema",
        other => other,
    }
}

/// The state, and while the index is made how far it is.
fn state(index: &Value) -> String {
    let count = |name: &str| index["progress"][name].as_u64().unwrap_or(0);
    match (text(index, "state").as_str(), count("total")) {
        ("building", total) if total > 0 => {
            format!("building {} %", count("done").min(total) * 100 / total)
        }
        (state, _) => state.to_owned(),
    }
}

async fn advise(session: &mut Session<'_, '_>, backend: &Backend) -> Outcome {
    let answer = backend.get("index_advice").await?;
    let columns = [
        elastic("TYPE"),
        elastic("QUERY"),
        whole("TIMES"),
        whole("WORST"),
        elastic("INDEX THAT HELPS"),
    ];
    session.show_list(&answer, "No query was slow.", &columns, |slow| {
        [
            short(&text(slow, "objectType")).to_owned(),
            text(slow, "query"),
            slow["count"].to_string(),
            format!("{} ms", slow["worstMs"]),
            text(&slow["index"], "property"),
        ]
    })
}

/// Makes every index that the advice names.
async fn create_advised(session: &mut Session<'_, '_>, backend: &Backend) -> Outcome {
    let advice = backend.get("index_advice").await?;
    let mut wanted: Vec<&Value> = results(&advice).iter().map(|slow| &slow["index"]).collect();
    wanted.retain(|index| !index.is_null());
    let mut made = Vec::new();
    for (place, index) in wanted.iter().enumerate() {
        if !wanted[..place].contains(index) {
            made.push(backend.post("indexes", index).await?);
        }
    }
    if session.screen.wants_json() {
        session.screen.json(&json!({ "results": made }))?;
        return Ok(0);
    }
    if made.is_empty() {
        session.screen.note("There is no index that would help.")?;
    }
    for index in &made {
        let line = format!("The index of {} is {}.", named(index), state(index));
        session.screen.line(&crate::screen::readable(&line))?;
    }
    Ok(0)
}

async fn create(
    session: &mut Session<'_, '_>,
    backend: &Backend,
    (collection, property): (&Collection, &str),
    wait: bool,
) -> Outcome {
    let body = json!({"objectType": collection.name, "property": property});
    let mut index = backend.post("indexes", &body).await?;
    if wait {
        let path = format!("indexes/{}", segment(&text(&index, "id")));
        let _progress = Progress::of_waiting(session.screen, "making the index");
        while text(&index, "state") == "building" {
            tokio::time::sleep(LOOK_AGAIN).await;
            index = backend.get(&path).await?;
        }
    }
    let line = match text(&index, "state").as_str() {
        "ready" => format!("The index of {} is ready.", named(&index)),
        _ => format!(
            "The index of {} is being made; see `pilvi eds indexes` for how far it is.",
            named(&index)
        ),
    };
    session.done(&index, &line)
}

async fn find(backend: &Backend, collection: &Collection, property: &str) -> Result<Value> {
    let answer = backend.get("indexes").await?;
    let found = results(&answer).iter().find(|index| {
        text(index, "objectType") == collection.name
            && text(index, "property") == property
            && text(index, "state") != "leaving"
    });
    found.cloned().ok_or_else(|| Failure {
        code: Code::NotFound,
        ..Failure::usage(
            format!("there is no index of {} {property}", collection.short()),
            "see `pilvi eds indexes` for those that there are",
        )
    })
}
