//! `create` of a service: private, unless the developer asks for an open instance.

use clap::Args;
use serde_json::{Map, Value, json};

use super::{Instance, Kind};
use crate::failure::{Code, Outcome};
use crate::session::Session;
use crate::url::segment;

#[derive(Args, Clone, Debug)]
pub(crate) struct Common {
    /// What people call it
    name: String,
    /// The datacenter that it is in [default: that of the account]
    #[arg(long, value_name = "ID")]
    datacenter: Option<String>,
    /// A tag; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
}

/// Creates an instance and tells who may use it, and how.
pub(crate) async fn create(
    session: &mut Session<'_, '_>,
    kind: Kind,
    common: &Common,
    config: Map<String, Value>,
    id: Option<&str>,
) -> Outcome {
    let account = session.account().await?;
    let mut body = json!({
        "name": common.name,
        "serviceProviderId": kind.id(),
        "tags": common.tags,
        "config": config,
    });
    if let Some(datacenter) = &common.datacenter {
        body["datacenterId"] = datacenter.as_str().into();
    }
    if let Some(id) = id {
        body["id"] = id.into();
    }
    let resource = format!("accounts/{}/instances", segment(&account.id));
    let facts = session
        .client
        .post(&session.platform, &resource, &body)
        .await
        .map_err(|failure| match id {
            Some(_) => failure.on(
                Code::Forbidden,
                "leave out --id, or have an operator of the server do it",
            ),
            None => failure,
        })?;
    if session.screen.wants_json() {
        session.screen.json(&facts)?;
        return Ok(0);
    }
    let instance = Instance::new(kind, facts);
    let Instance { id, facts, .. } = &instance;
    let screen = &mut *session.screen;
    screen.line(&format!(
        "Created the {} {id}, called {}.",
        kind.noun(),
        common.name
    ))?;
    screen.line(&format!("It is {}.", kind.access_in_words(facts)))?;
    screen.line("")?;
    for line in recipe(&instance) {
        screen.line(&line)?;
    }
    if kind.is_open(facts) {
        screen.note("Leave out --open for one that only its own users and its token may use.")?;
    }
    Ok(0)
}

/// What to type first.
fn recipe(Instance { kind, id, .. }: &Instance) -> Vec<String> {
    let lines: &[&str] = match kind {
        Kind::Eds => &["insert notes text=Hello", "query notes"],
        Kind::Mws => &["listen", "send Hello"],
    };
    let option = kind.option();
    let intro = match kind {
        Kind::Eds => "Put something in and look at it:",
        Kind::Mws => "Listen in one terminal and send from another:",
    };
    let typed = lines
        .iter()
        .map(|line| format!("  pilvi {} {option} {id} {line}", kind.id()));
    let token = [
        "Its security token, for your programs:".to_owned(),
        format!("  pilvi {} {option} {id} token", kind.id()),
    ];
    std::iter::once(intro.to_owned())
        .chain(typed)
        .chain(token)
        .collect()
}
