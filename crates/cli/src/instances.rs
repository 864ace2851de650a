//! `pilvi instances`: what all services have in common. What is special is with `mar`, `eds` and `mws`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::connection::Connection;
use crate::failure::{Code, Failure, Outcome, Result};
use crate::session::{Account, Session, array, results, text};
use crate::table::{Table, elastic, whole};
use crate::url::segment;

#[derive(Args, Clone, Debug)]
pub struct Instances {
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// List the instances of all services in your clouds (this is what no verb does, too)
    List {
        /// Only those of this service: mar, eds, mws
        #[arg(long, value_name = "SERVICE")]
        provider: Option<String>,
        /// Those that were removed and can still be brought back
        #[arg(long)]
        deleted: bool,
    },
    /// Show an instance
    Show {
        /// Its id or its name
        #[arg(value_name = "INSTANCE")]
        named: String,
    },
    /// Call an instance something else; its id stays
    Rename {
        /// Its id or its name
        #[arg(value_name = "INSTANCE")]
        named: String,
        /// The new name
        name: String,
    },
    /// Replace the tags of an instance
    Tag {
        /// Its id or its name
        #[arg(value_name = "INSTANCE")]
        named: String,
        /// The tags that it has from then on
        #[arg(required_unless_present = "clear")]
        tags: Vec<String>,
        /// Let it have none
        #[arg(long, conflicts_with = "tags")]
        clear: bool,
    },
    /// Remove an instance; for some days it can be brought back
    Remove {
        /// Its id or its name
        #[arg(value_name = "INSTANCE")]
        named: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Do not keep it for some days: it cannot be brought back
        #[arg(long)]
        now: bool,
    },
    /// Bring back an instance that was removed, with its tokens and data
    Restore {
        /// Its id or its name
        #[arg(value_name = "INSTANCE")]
        named: String,
    },
    /// Show what an instance uses
    Usage {
        /// Its id or its name
        #[arg(value_name = "INSTANCE")]
        named: String,
    },
}

impl Instances {
    pub(crate) async fn carry_out(&self, session: &mut Session<'_, '_>) -> Outcome {
        let Some(verb) = &self.verb else {
            return list(session, None, false).await;
        };
        let (named, deleted) = match verb {
            Verb::List { provider, deleted } => {
                return list(session, provider.as_deref(), *deleted).await;
            }
            Verb::Restore { named } => (named, true),
            Verb::Show { named }
            | Verb::Rename { named, .. }
            | Verb::Tag { named, .. }
            | Verb::Remove { named, .. }
            | Verb::Usage { named } => (named, false),
        };
        let id = &*find(session, named, deleted).await?;
        match verb {
            Verb::Show { .. } | Verb::List { .. } => show(session, id).await,
            Verb::Rename { name, .. } => {
                let line = format!("{named} is called {name} now.");
                change(session, id, &json!({ "name": name }), &line).await
            }
            Verb::Tag { tags, .. } => {
                let line = match tags.as_slice() {
                    [] => format!("{named} has no tags now."),
                    tags => format!("The tags of {named} are {} now.", tags.join(", ")),
                };
                change(session, id, &json!({ "tags": tags }), &line).await
            }
            Verb::Remove { yes, now, .. } => remove(session, named, id, *yes, *now).await,
            Verb::Restore { .. } => restore(session, named, id).await,
            Verb::Usage { .. } => usage(session, id).await,
        }
    }
}

/// The id of the instance with this id or name.
async fn find(session: &Session<'_, '_>, named: &str, deleted: bool) -> Result<String> {
    if is_id(named) {
        return Ok(named.to_owned());
    }
    let accounts = session.accounts().await?;
    let all = all(session, &accounts, None, deleted).await?;
    let found: Vec<String> = all
        .iter()
        .filter(|(_, instance)| instance["name"] == named || instance["id"] == named)
        .map(|(_, instance)| text(instance, "id"))
        .collect();
    let list = match deleted {
        true => "pilvi instances list --deleted",
        false => "pilvi instances list",
    };
    match found.as_slice() {
        [id] => Ok(id.clone()),
        [] => Err(Failure::new(
            Code::NotFound,
            match deleted {
                true => format!("no instance called {named} waits to be brought back"),
                false => format!("you have no instance called {named}"),
            },
            format!("see `{list}` for what there is"),
        )),
        _ => Err(Failure::usage(
            format!("several instances are called {named}"),
            format!("name it by its id, which `{list}` shows"),
        )),
    }
}

/// 24 hex characters, or the service, the place and a few characters more. A name of that shape is meant as an id.
fn is_id(text: &str) -> bool {
    let is_hex = text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_app = || {
        let parts = text
            .strip_prefix("mar-")
            .and_then(|rest| rest.rsplit_once('-'));
        parts.is_some_and(|(_, last)| last.len() == 8)
    };
    is_hex || is_app()
}

fn resource(id: &str) -> String {
    format!("instances/{}", segment(id))
}

fn or_see_list(failure: Failure) -> Failure {
    let next = "see `pilvi instances list` for what there is";
    failure.on(Code::NotFound, next)
}

/// All instances of these accounts, each with the name of its account.
async fn all(
    session: &Session<'_, '_>,
    accounts: &[Account],
    provider: Option<&str>,
    deleted: bool,
) -> Result<Vec<(String, Value)>> {
    let mut query = format!("provider={}", segment(provider.unwrap_or_default()));
    if deleted {
        query += "&deleted=true";
    }
    let mut all: Vec<(String, Value)> = Vec::new();
    for account in accounts {
        let resource = format!("accounts/{}/instances?{query}", segment(&account.id));
        let answer = session.client.get(&session.platform, &resource).await?;
        let found = results(&answer).iter().cloned();
        all.extend(found.map(|instance| (account.name.clone(), instance)));
    }
    Ok(all)
}

async fn list(session: &mut Session<'_, '_>, provider: Option<&str>, deleted: bool) -> Outcome {
    let accounts = session.accounts().await?;
    let all = all(session, &accounts, provider, deleted).await?;
    if session.screen.wants_json() {
        let all: Vec<Value> = all.into_iter().map(|(_, instance)| instance).collect();
        session.screen.json(&json!({ "results": all }))?;
    } else if all.is_empty() {
        session.screen.note(match deleted {
            true => "Nothing waits to be brought back.",
            false => "There are no instances yet. See `pilvi mar create`, `pilvi eds create` and `pilvi mws create`.",
        })?;
    } else {
        session
            .screen
            .table(&table(&all, accounts.len() > 1, deleted))?;
    }
    Ok(0)
}

/// The cloud is told only where there are several, and when something was removed only where that is the question.
fn table(all: &[(String, Value)], several: bool, deleted: bool) -> Table {
    let mut columns = vec![
        whole("ID"),
        whole("SERVICE"),
        elastic("NAME"),
        elastic("TAGS"),
    ];
    if deleted {
        columns.extend([elastic("REMOVED"), elastic("KEPT UNTIL")]);
    }
    columns.extend(several.then(|| elastic("CLOUD")));
    let mut table = Table::new(&columns);
    for (account, instance) in all {
        let mut cells = vec![
            text(instance, "id"),
            text(instance, "serviceProviderId"),
            text(instance, "name"),
            tags(instance),
        ];
        if deleted {
            cells.extend(["deletedAt", "removedAt"].map(|field| text(instance, field)));
        }
        cells.extend(several.then(|| account.clone()));
        table.row_of(cells);
    }
    table
}

fn tags(instance: &Value) -> String {
    let tags = array(&instance["tags"]).iter().filter_map(Value::as_str);
    tags.collect::<Vec<_>>().join(", ")
}

async fn get(session: &Session<'_, '_>, id: &str) -> Result<Value> {
    let answer = session.client.get(&session.platform, &resource(id)).await;
    answer.map_err(or_see_list)
}

async fn show(session: &mut Session<'_, '_>, id: &str) -> Outcome {
    let instance = get(session, id).await?;
    if session.screen.wants_json() {
        session.screen.json(&instance)?;
        return Ok(0);
    }
    let mut facts = vec![
        ("Id", text(&instance, "id")),
        ("Name", text(&instance, "name")),
        ("Service", text(&instance["serviceProvider"], "title")),
        ("Tags", tags(&instance)),
        ("Cloud", text(&instance, "accountId")),
        ("Datacenter", text(&instance, "datacenterId")),
        ("Created", text(&instance, "createdAt")),
    ];
    let config = instance["config"].as_object().into_iter().flatten();
    let mut name = "Config";
    for (key, value) in config {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        facts.push((std::mem::take(&mut name), format!("{key}={value}")));
    }
    facts.retain(|(_, value)| !value.is_empty());
    session.screen.facts(&facts)?;
    Ok(0)
}

async fn change(session: &mut Session<'_, '_>, id: &str, body: &Value, line: &str) -> Outcome {
    let answer = session
        .client
        .put(&session.platform, &resource(id), body)
        .await;
    session.done(&answer.map_err(or_see_list)?, line)
}

async fn remove(
    session: &mut Session<'_, '_>,
    named: &str,
    id: &str,
    yes: bool,
    now: bool,
) -> Outcome {
    let loss = match now {
        true => "at once, with everything that belongs to it",
        false => "with everything that belongs to it",
    };
    session.confirm_removal(named, loss, yes)?;
    let resource = match now {
        true => format!("{}?now=true", resource(id)),
        false => resource(id),
    };
    let answer = session.client.delete(&session.platform, &resource).await;
    let line = match now {
        true => format!("Removed {id}, which cannot be brought back."),
        false => removed(id),
    };
    session.done(&answer.map_err(or_see_list)?, &line)
}

/// How long it is kept is the server's business.
pub(crate) fn removed(id: &str) -> String {
    format!("Removed {id}. While it is kept, this brings it back: pilvi instances restore {id}")
}

async fn restore(session: &mut Session<'_, '_>, named: &str, id: &str) -> Outcome {
    let resource = format!("{}/restore", resource(id));
    let answer = session
        .client
        .post(&session.platform, &resource, &json!({}))
        .await
        .map_err(|failure| {
            let next = "see `pilvi instances list --deleted` for what can be brought back";
            failure.on(Code::NotFound, next).on(Code::Refused, next)
        })?;
    session.done(
        &answer,
        &format!("{named} is back, with its tokens and data."),
    )
}

async fn usage(session: &mut Session<'_, '_>, id: &str) -> Outcome {
    let resource = format!("{}/usage", resource(id));
    let answer = session.client.get(&session.platform, &resource).await;
    crate::clouds::show_usage(session, &answer.map_err(or_see_list)?)
}
