//! `pilvi eds watch`: what comes, changes and goes, as it happens.
//!
//! The server is asked once and tells from then on. When the connection breaks off the command comes back with where it
//! was, so nothing is missed and nothing is printed twice; what the server can no longer tell, it says.

use clap::Args;
use serde_json::Value;

use super::collection::Collection;
use super::fields::Filter;
use super::target::Backend;
use crate::failure::{Code, Failure, Outcome, Result};
use crate::screen::readable;
use crate::service::{Events, Patience, interrupted, pause_or_stop};
use crate::session::{Session, text};
use crate::url::segment;

#[derive(Args, Clone, Debug)]
pub(super) struct Watch {
    /// The object type, such as todos, users or usergroups
    #[arg(value_name = "TYPE")]
    collection: Collection,
    #[command(flatten)]
    filter: Filter,
    /// Print what happened behind this `seq` of a message first
    #[arg(long, value_name = "SEQ")]
    since: Option<String>,
    /// Print what there is first
    #[arg(long)]
    snapshot: bool,
    /// End after so many
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// Where a watch has come to.
struct Progress {
    /// Behind which message to go on.
    since: Option<String>,
    left: u64,
}

impl Watch {
    pub(super) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        backend: &Backend,
    ) -> Outcome {
        let mut stop = Box::pin(interrupted());
        let mut progress = Progress {
            since: self.since.clone(),
            left: self.count.unwrap_or(u64::MAX),
        };
        let mut patience = Patience::new();
        let mut is_begun = false;
        while progress.left > 0 {
            let failure = tokio::select! {
                ended = self.follow(session, backend, &mut progress, &mut is_begun) => match ended {
                    Ok(()) => break,
                    Err(failure) => failure,
                },
                stopped = &mut stop => return stopped.map(|()| 0),
            };
            if is_begun {
                patience = Patience::new();
            }
            let pause = patience.after(session, failure)?;
            if !pause_or_stop(pause, &mut stop).await? {
                break;
            }
            is_begun = false;
        }
        Ok(0)
    }

    /// Prints what is told until enough was printed.
    async fn follow(
        &self,
        session: &mut Session<'_, '_>,
        backend: &Backend,
        progress: &mut Progress,
        is_begun: &mut bool,
    ) -> Result<()> {
        let body = backend.open(&self.resource(progress)).await?;
        let mut events = Events::new(body);
        if !*is_begun && progress.since == self.since {
            let kind = self.collection.short();
            session
                .screen
                .note(&format!("Watching {kind}, until Ctrl-C."))?;
        }
        *is_begun = true;
        while progress.left > 0 {
            let message = next(&mut events).await?;
            if let Some(seq) = message["seq"].as_str() {
                progress.since = Some(seq.to_owned());
            }
            match message["event"].as_str() {
                Some("caught_up") | None => {}
                Some("resync") => {
                    print(session, &message)?;
                    let kind = self.collection.short();
                    session.screen.note(&format!(
                        "Some of what happened cannot be told; see `pilvi eds query {kind}` for what there is now."
                    ))?;
                }
                Some(_) => {
                    print(session, &message)?;
                    progress.left -= 1;
                }
            }
        }
        Ok(())
    }

    fn resource(&self, progress: &Progress) -> String {
        let mut resource = format!("live?objectType={}", segment(&self.collection.name));
        let filter = self.filter.to_object();
        if !filter.is_empty() {
            let filter = Value::Object(filter).to_string();
            resource.push_str(&format!("&q={}", segment(&filter)));
        }
        if let Some(since) = &progress.since {
            resource.push_str(&format!("&since={}", segment(since)));
        }
        if self.snapshot {
            resource.push_str("&snapshot=true");
        }
        resource
    }
}

/// The next message; whatever else is told is left out.
async fn next(events: &mut Events) -> Result<Value> {
    loop {
        let event = events.next().await.map_err(|why| broken(&why))?;
        if let Ok(message) = serde_json::from_str(&event.data) {
            return Ok(message);
        }
    }
}

fn broken(what: &str) -> Failure {
    Failure::new(
        Code::Unreachable,
        what.to_owned(),
        "see whether the server runs, and try again",
    )
}

/// With `--json` the message as it came.
fn print(session: &mut Session<'_, '_>, message: &Value) -> Result<()> {
    if session.screen.wants_json() {
        return Ok(session.screen.raw(&format!("{message}\n"))?);
    }
    let object = &message["data"];
    let what = match (message["event"].as_str(), object) {
        (Some("enter"), object) if object["createdAt"] == object["updatedAt"] => "created",
        (Some("enter"), _) => "came",
        (Some("update"), _) => "changed",
        (Some("leave"), object) if object["deleted"] == true => "deleted",
        (Some("leave"), _) => "left",
        _ => return Ok(()),
    };
    let at = match object["updatedAt"].as_str() {
        Some(at) => format!("{at}  "),
        None => String::new(),
    };
    let id = text(object, "id");
    let line = match what {
        "deleted" | "left" => format!("{what}  {id}"),
        what => format!("{at}{what}  {id}  {}", own(object)),
    };
    Ok(session.screen.raw(&(readable(&line) + "\n"))?)
}

/// What users put into it.
fn own(object: &Value) -> Value {
    let mut own = object.clone();
    if let Some(members) = own.as_object_mut() {
        for name in super::collection::SYSTEM {
            members.shift_remove(name);
        }
    }
    own
}
