//! `pilvi eds users`: the people who sign in to an app.

use clap::{Args, Subcommand};
use pilvi_base::Secret;
use serde_json::{Value, json};

use super::collection::shown;
use super::fields::{Field, field, object};
use super::query::print;
use super::target::Backend;
use crate::failure::{Code, Failure, Outcome, Result};
use crate::session::{Session, results, text};
use crate::table::{Column, elastic, whole};
use crate::url::segment;

#[derive(Args, Clone, Debug)]
pub(super) struct Users {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// List the users (this is what no verb does, too)
    List {
        /// Print at most so many
        #[arg(long, short = 'n', default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
    },
    /// Register a user; the password is asked for, or read from standard input
    Create {
        /// The name to sign in with
        username: String,
        /// More about them: NAME=TEXT, NAME:=JSON, or a JSON object, such as email=anna@example.org
        #[arg(value_name = "PROPERTY", value_parser = field)]
        properties: Vec<Field>,
    },
    /// Show a user
    Show {
        /// The username or the id
        user: String,
    },
    /// Set another password, which is asked for or read from standard input
    Password {
        /// The username or the id
        user: String,
    },
    /// Remove a user; what they created stays
    Remove {
        /// The username or the id
        user: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

impl Users {
    pub(super) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        backend: &Backend,
    ) -> Outcome {
        match &self.verb {
            None => list(session, backend, 100).await,
            Some(Verb::List { limit }) => list(session, backend, *limit).await,
            Some(Verb::Create {
                username,
                properties,
            }) => create(session, backend, username, properties).await,
            Some(Verb::Show { user }) => {
                let user = find(backend, user).await?;
                print(session, &user)?;
                Ok(0)
            }
            Some(Verb::Password { user }) => set_password(session, backend, user).await,
            Some(Verb::Remove { user, yes }) => remove(session, backend, user, *yes).await,
        }
    }
}

async fn list(session: &mut Session<'_, '_>, backend: &Backend, limit: u16) -> Outcome {
    let answer = backend.get(&format!("users?limit={limit}")).await?;
    let empty = "There are no users yet. Register one with: pilvi eds users create NAME";
    session.show_list(&answer, empty, &COLUMNS, row)?;
    if answer.get("next").is_some() && !session.screen.wants_json() {
        let note = "There may be more: `pilvi eds query users --lines` prints all.";
        session.screen.note(note)?;
    }
    Ok(0)
}

pub(super) const COLUMNS: [Column; 5] = [
    whole("ID"),
    elastic("USERNAME"),
    elastic("EMAIL"),
    elastic("NAME"),
    whole("CREATED"),
];

/// A user in these columns.
pub(super) fn row(user: &Value) -> [String; 5] {
    let name = format!("{} {}", shown(&user["firstName"]), shown(&user["lastName"]));
    [
        text(user, "id"),
        text(user, "username"),
        shown(&user["email"]),
        name.trim().to_owned(),
        text(user, "createdAt"),
    ]
}

async fn create(
    session: &mut Session<'_, '_>,
    backend: &Backend,
    username: &str,
    properties: &[Field],
) -> Outcome {
    let mut body = object(properties);
    body.insert("username".into(), username.into());
    let password = password(session, username)?;
    body.insert("password".into(), password.expose().into());
    let created = backend.post("users", &Value::Object(body)).await;
    let created = created.map_err(|failure| without(&password, failure))?;
    let line = format!("Registered {username} ({}).", text(&created, "id"));
    session.done(&created, &line)
}

async fn set_password(session: &mut Session<'_, '_>, backend: &Backend, user: &str) -> Outcome {
    let found = find(backend, user).await?;
    let name = text(&found, "username");
    let password = password(session, &name)?;
    let body = json!({"password": password.expose()});
    let changed = backend.put(&one(&found), &body).await;
    let changed = changed.map_err(|failure| without(&password, failure))?;
    let line =
        format!("{name} has another password. Who is signed in stays so for up to eight hours.");
    session.done(&changed, &line)
}

async fn remove(
    session: &mut Session<'_, '_>,
    backend: &Backend,
    user: &str,
    yes: bool,
) -> Outcome {
    let found = find(backend, user).await?;
    let name = text(&found, "username");
    session.confirm_removal(&name, "with their sessions and memberships", yes)?;
    let answer = backend.delete(&one(&found)).await?;
    let line = format!("Removed {name}, who can no longer sign in.");
    session.done(&answer, &line)
}

/// The user with this id, or else this name: a name that looks like somebody's id must not stand in for them.
pub(super) async fn find(backend: &Backend, user: &str) -> Result<Value> {
    let filter = json!({"$or": [{"username": user}, {"id": user}]});
    let resource = format!("users?limit=2&q={}", segment(&filter.to_string()));
    let answer = backend.get(&resource).await?;
    let found = results(&answer);
    let by_id = found.iter().find(|found| found["id"] == user);
    by_id.or(found.first()).cloned().ok_or_else(|| {
        Failure::new(
            Code::NotFound,
            format!("there is no user with the name or id {user}"),
            "see `pilvi eds users` for those that there are",
        )
    })
}

fn one(user: &Value) -> String {
    format!("users/{}", segment(&text(user, "id")))
}

/// Asks for a password, or takes the first line of standard input. It is never an argument: others can read those.
fn password(session: &mut Session<'_, '_>, username: &str) -> Result<Secret> {
    let password = session.read_password(&format!("Password of {username}: "))?;
    if password.expose().is_empty() {
        return Err(Failure::usage(
            "no password was given",
            "type one, or write it to standard input: printf '%s' \"$password\" | pilvi eds users …",
        ));
    }
    Ok(password)
}

/// A server's text may repeat what it does not like.
fn without(password: &Secret, failure: Failure) -> Failure {
    Failure {
        what: failure.what.replace(password.expose(), "[secret]"),
        ..failure
    }
}
