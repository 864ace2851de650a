//! `pilvi eds groups`: usergroups and who is in them.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::target::Backend;
use super::users;
use crate::failure::{Code, Failure, Outcome, Result};
use crate::session::{Session, results, text};
use crate::table::{elastic, whole};
use crate::url::segment;

#[derive(Args, Clone, Debug)]
pub(super) struct Groups {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// List the usergroups (this is what no verb does, too)
    List,
    /// Create a usergroup
    Create { name: String },
    /// Remove a usergroup; its members stay users
    Remove {
        /// The name or the id
        group: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// List who is in a usergroup
    Members {
        /// The name or the id
        group: String,
    },
    /// Put a user into a usergroup
    Add {
        /// The group's name or id
        group: String,
        /// The username or the user's id
        user: String,
    },
    /// Take a user out of a usergroup
    Drop {
        /// The group's name or id
        group: String,
        /// The username or the user's id
        user: String,
    },
}

impl Groups {
    pub(super) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        backend: &Backend,
    ) -> Outcome {
        match &self.verb {
            None | Some(Verb::List) => list(session, backend).await,
            Some(Verb::Create { name }) => {
                let created = backend.post("usergroups", &json!({"name": name})).await?;
                let line = format!("Created the usergroup {name} ({}).", text(&created, "id"));
                session.done(&created, &line)
            }
            Some(Verb::Remove { group, yes }) => {
                let found = find(backend, group).await?;
                let name = text(&found, "name");
                session.confirm_removal(&name, "with its members' places in it", *yes)?;
                let answer = backend.delete(&one(&found, "")).await?;
                session.done(&answer, &format!("Removed the usergroup {name}."))
            }
            Some(Verb::Members { group }) => members(session, backend, group).await,
            Some(Verb::Add { group, user }) => {
                let (group, user) = (
                    find(backend, group).await?,
                    users::find(backend, user).await?,
                );
                let answer = backend
                    .post(&one(&group, "/members"), &reference(&user))
                    .await?;
                let line = format!(
                    "{} is in {} now.",
                    text(&user, "username"),
                    text(&group, "name")
                );
                session.done(&answer, &line)
            }
            Some(Verb::Drop { group, user }) => {
                let (group, user) = (
                    find(backend, group).await?,
                    users::find(backend, user).await?,
                );
                let (group_name, user_name) = (text(&group, "name"), text(&user, "username"));
                let answer = backend
                    .delete_with(&one(&group, "/members"), &reference(&user))
                    .await
                    .map_err(|failure| {
                        let next =
                            format!("see `pilvi eds groups members {group_name}` for who is in it");
                        failure.on(Code::NotFound, next)
                    })?;
                let line = format!("{user_name} is no longer in {group_name}.");
                session.done(&answer, &line)
            }
        }
    }
}

async fn list(session: &mut Session<'_, '_>, backend: &Backend) -> Outcome {
    let answer = backend.get("usergroups?limit=1000").await?;
    let empty = "There are no usergroups yet. Create one with: pilvi eds groups create NAME";
    let columns = [whole("ID"), elastic("NAME"), whole("CREATED")];
    session.show_list(&answer, empty, &columns, |group| {
        ["id", "name", "createdAt"].map(|field| text(group, field))
    })
}

async fn members(session: &mut Session<'_, '_>, backend: &Backend, group: &str) -> Outcome {
    let group = find(backend, group).await?;
    let answer = backend.get(&one(&group, "/members?limit=1000")).await?;
    let empty = format!("Nobody is in {}.", text(&group, "name"));
    session.show_list(&answer, &empty, &users::COLUMNS, users::row)
}

/// The usergroup with this id or name. Several may have one name.
async fn find(backend: &Backend, group: &str) -> Result<Value> {
    let filter = json!({"$or": [{"name": group}, {"id": group}]});
    let resource = format!("usergroups?limit=2&q={}", segment(&filter.to_string()));
    let answer = backend.get(&resource).await?;
    let next = "see `pilvi eds groups` for those that there are";
    let found = results(&answer);
    // A name that looks like another group's id must not stand in for it.
    if let Some(by_id) = found.iter().find(|found| found["id"] == group) {
        return Ok(by_id.clone());
    }
    match found {
        [only] => Ok(only.clone()),
        [] => Err(Failure::new(
            Code::NotFound,
            format!("there is no usergroup with the name or id {group}"),
            next,
        )),
        _ => Err(Failure::usage(
            format!("several usergroups are called {group}"),
            format!("name it by its id; {next}"),
        )),
    }
}

fn one(group: &Value, below: &str) -> String {
    format!("usergroups/{}{below}", segment(&text(group, "id")))
}

fn reference(user: &Value) -> Value {
    json!({"id": user["id"], "objectType": "users"})
}
