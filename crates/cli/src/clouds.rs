//! `pilvi clouds`: what the API calls accounts, and who shares them.

mod invitations;
mod limits;
mod log;
mod members;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::connection::Connection;
use crate::failure::{Code, Failure, Outcome, Result};
use crate::session::{Session, results, text};
use crate::table::{Table, elastic, whole};
use crate::url::segment;

pub(crate) use limits::show_usage;
use members::Role;

#[derive(Args, Clone, Debug)]
pub struct Clouds {
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// List your clouds (this is what no verb does, too)
    List,
    /// Create a cloud
    Create {
        /// What people call it
        name: String,
        /// Where its instances are unless you say otherwise [default: the server's first datacenter]
        #[arg(long, value_name = "ID")]
        datacenter: Option<String>,
        /// Mean it from now on, as `use` does
        #[arg(long = "use")]
        uses: bool,
    },
    /// Show a cloud
    Show {
        /// Its id or its name [default: the one that is meant]
        cloud: Option<String>,
    },
    /// Call a cloud something else
    Rename {
        /// Its id or its present name
        cloud: String,
        /// The new name
        name: String,
    },
    /// Remove a cloud, which must be empty
    Remove {
        /// Its id or its name
        cloud: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Mean this cloud from now on
    Use {
        /// Its id or its name
        #[arg(required_unless_present = "none")]
        cloud: Option<String>,
        /// Mean none in particular again
        #[arg(long, conflicts_with = "cloud")]
        none: bool,
    },
    /// List the members of the cloud, change their roles or remove them
    Members(members::Members),
    /// Leave the cloud; the last owner cannot
    Leave {
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// As an owner, invite somebody to the cloud by e-mail
    Invite {
        /// The e-mail address
        email: String,
        /// What they may do
        #[arg(long, value_enum, default_value = "developer")]
        role: Role,
    },
    /// List the invitations that are not answered yet, or withdraw one
    Invitations(invitations::Invitations),
    /// List the invitations that wait for your answer
    Invited,
    /// Accept an invitation
    Join {
        /// The code from the mail, or the number that `invited` shows [default: the code is asked for]
        invitation: Option<String>,
    },
    /// Decline an invitation
    Decline {
        /// The number that `invited` shows
        invitation: u64,
    },
    /// Show who did what in the cloud, the newest last
    Log(log::Log),
    /// Show what the cloud may use, or, as the server's operator, change it
    Quotas(limits::Quotas),
    /// Show what the cloud uses
    Usage,
}

impl Clouds {
    pub(crate) async fn carry_out(&self, session: &mut Session<'_, '_>) -> Outcome {
        match &self.verb {
            None | Some(Verb::List) => list(session).await,
            Some(Verb::Create {
                name,
                datacenter,
                uses,
            }) => create(session, name, datacenter.as_deref(), *uses).await,
            Some(Verb::Show { cloud }) => show(session, cloud.as_deref()).await,
            Some(Verb::Rename { cloud, name }) => rename(session, cloud, name).await,
            Some(Verb::Remove { cloud, yes }) => remove(session, cloud, *yes).await,
            Some(Verb::Use { cloud, .. }) => mean(session, cloud.as_deref()).await,
            Some(Verb::Members(members)) => members.carry_out(session).await,
            Some(Verb::Leave { yes }) => members::leave(session, *yes).await,
            Some(Verb::Invite { email, role }) => invitations::invite(session, email, *role).await,
            Some(Verb::Invitations(invitations)) => invitations.carry_out(session).await,
            Some(Verb::Invited) => invitations::invited(session).await,
            Some(Verb::Join { invitation }) => {
                invitations::join(session, invitation.as_deref()).await
            }
            Some(Verb::Decline { invitation }) => invitations::decline(session, *invitation).await,
            Some(Verb::Log(log)) => log.carry_out(session).await,
            Some(Verb::Quotas(quotas)) => quotas.carry_out(session).await,
            Some(Verb::Usage) => limits::usage(session).await,
        }
    }
}

async fn list(session: &mut Session<'_, '_>) -> Outcome {
    let answer = session.client.get(&session.platform, "user/accounts").await;
    let answer = answer.map_err(|failure| {
        let next = "this is the token of a cloud or of an instance; sign in as yourself with `pilvi login`";
        failure.on(Code::Forbidden, next)
    })?;
    let meant = session.account.clone();
    let is_meant = |cloud: &Value| {
        let meant = meant.as_deref();
        meant.is_some() && [cloud["id"].as_str(), cloud["name"].as_str()].contains(&meant)
    };
    if session.screen.wants_json() {
        session.screen.json(&answer)?;
        return Ok(0);
    }
    let clouds = results(&answer);
    if clouds.is_empty() {
        session
            .screen
            .note("You are in no cloud yet. Create one with: pilvi clouds create NAME")?;
        return Ok(0);
    }
    let is_any_meant = clouds.iter().any(is_meant);
    let mut columns = vec![
        whole("ID"),
        elastic("NAME"),
        whole("ROLE"),
        elastic("DATACENTER"),
    ];
    columns.extend(is_any_meant.then(|| whole("CHOSEN")));
    let mut table = Table::new(&columns);
    for cloud in clouds {
        let center = text(&cloud["datacenter"], "id");
        let mut cells = ["id", "name", "role"]
            .map(|field| text(cloud, field))
            .to_vec();
        cells.push(center);
        let mark = if is_meant(cloud) { "yes" } else { "" };
        cells.extend(is_any_meant.then(|| mark.to_owned()));
        table.row_of(cells);
    }
    session.screen.table(&table)?;
    Ok(0)
}

async fn create(
    session: &mut Session<'_, '_>,
    name: &str,
    datacenter: Option<&str>,
    uses: bool,
) -> Outcome {
    let mut body = json!({ "name": name });
    if let Some(datacenter) = datacenter {
        body["datacenter"] = datacenter.into();
    }
    let answer = session
        .client
        .post(&session.platform, "accounts", &body)
        .await;
    let answer = answer.map_err(|failure| {
        let next = "see `pilvi datacenters` for where it can be";
        failure.on(Code::Refused, next)
    })?;
    let id = text(&answer, "id");
    let mut line = format!("Created the cloud {name} ({id}).");
    if uses {
        remember(session, Some(id))?;
        line += " It is meant from now on.";
    }
    session.done(&answer, &line)
}

async fn show(session: &mut Session<'_, '_>, cloud: Option<&str>) -> Outcome {
    let account = match cloud {
        Some(cloud) => session.find_account(cloud).await?,
        None => session.account().await?,
    };
    let resource = format!("accounts/{}", segment(&account.id));
    let answer = session.client.get(&session.platform, &resource).await?;
    if session.screen.wants_json() {
        session.screen.json(&answer)?;
        return Ok(0);
    }
    let center = &answer["datacenter"];
    let facts = [
        ("Id", text(&answer, "id")),
        ("Name", text(&answer, "name")),
        ("Your role", text(&answer, "role")),
        (
            "Datacenter",
            format!("{} {}", text(center, "id"), text(center, "description")),
        ),
        ("Created", text(&answer, "createdAt")),
    ];
    let facts: Vec<_> = facts
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect();
    session.screen.facts(&facts)?;
    Ok(0)
}

async fn rename(session: &mut Session<'_, '_>, cloud: &str, name: &str) -> Outcome {
    let account = session.find_account(cloud).await?;
    let resource = format!("accounts/{}", segment(&account.id));
    let body = json!({ "name": name });
    let answer = session
        .client
        .put(&session.platform, &resource, &body)
        .await?;
    // What is remembered by its old name would not be found any more.
    if session.account.as_deref() == Some(&account.name) && session.is_account_remembered() {
        remember(session, Some(account.id.clone()))?;
    }
    let line = format!("The cloud {} is called {name} now.", account.name);
    session.done(&answer, &line)
}

async fn remove(session: &mut Session<'_, '_>, cloud: &str, yes: bool) -> Outcome {
    let account = session.find_account(cloud).await?;
    session.confirm_removal(&account.name, "with its members, tokens and log", yes)?;
    let resource = format!("accounts/{}", segment(&account.id));
    let answer = session.client.delete(&session.platform, &resource).await;
    let answer = answer.map_err(|failure| {
        let next =
            "see `pilvi instances list` and `pilvi instances list --deleted` for what is in it";
        failure.on(Code::Refused, next)
    })?;
    let meant = session.account.as_deref();
    if (meant == Some(&account.id) || meant == Some(&account.name))
        && session.is_account_remembered()
    {
        remember(session, None)?;
    }
    session.done(&answer, &format!("Removed the cloud {}.", account.name))
}

async fn mean(session: &mut Session<'_, '_>, cloud: Option<&str>) -> Outcome {
    let Some(cloud) = cloud else {
        remember(session, None)?;
        return session.done(&json!({}), "No cloud in particular is meant any more.");
    };
    let account = session.find_account(cloud).await?;
    remember(session, Some(account.id.clone()))?;
    let line = format!(
        "From now on the cloud {} ({}) is meant.",
        account.name, account.id
    );
    session.done(&json!({"id": account.id, "name": account.name}), &line)
}

fn remember(session: &mut Session<'_, '_>, account: Option<String>) -> Result<()> {
    let Some(name) = session.context.clone() else {
        return Err(Failure::usage(
            format!(
                "nothing is remembered of {} in which this could be kept",
                session.platform
            ),
            "sign in with `pilvi login`, or set PILVI_ACCOUNT",
        ));
    };
    session.contexts.change(|contexts| {
        let mut context = contexts.find(&name).unwrap_or_default();
        context.account = account;
        contexts.put(&name, &context)
    })?;
    if session.place.environment.account.is_some() {
        session
            .screen
            .note("PILVI_ACCOUNT is set and goes ahead of this; unset it to use this")?;
    }
    Ok(())
}

/// The members, or whatever else the cloud that is meant has.
async fn below(session: &Session<'_, '_>, what: &str) -> Result<(String, Value)> {
    let resource = resource(session, what).await?;
    let answer = session.client.get(&session.platform, &resource).await;
    let answer = answer.map_err(|failure| {
        let next = "see `pilvi clouds list` for those that there are";
        failure.on(Code::NotFound, next)
    })?;
    Ok((resource, answer))
}

async fn resource(session: &Session<'_, '_>, what: &str) -> Result<String> {
    let id = session.account_id().await?;
    Ok(format!("accounts/{}/{what}", segment(&id)))
}

/// The one of a list whose field is this text.
fn only<'v>(list: &'v Value, fields: &[&str], named: &str) -> Option<&'v Value> {
    let is_it = |item: &&Value| fields.iter().any(|field| text(item, field) == named);
    let mut found = results(list).iter().filter(is_it);
    match (found.next(), found.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}
