//! `pilvi mar envs`: config vars.

use clap::{Args, Subcommand};
use pilvi_base::Secret;
use serde_json::{Map, Value};

use super::target::{App, Target};
use crate::failure::{Code, Failure, Outcome, Result};
use crate::session::Session;

#[derive(Args, Clone, Debug)]
pub(super) struct Envs {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// Set config vars and restart the app
    Set {
        /// NAME=VALUE; without a value it is removed
        #[arg(required = true, value_name = "NAME=VALUE", value_parser = assignment)]
        assignments: Vec<Assignment>,
    },
    /// Remove config vars and restart the app
    Unset {
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}

/// The value may be a secret, so the command line's own messages must not show it either.
#[derive(Clone, Debug)]
struct Assignment {
    name: String,
    value: Secret,
}

fn assignment(text: &str) -> std::result::Result<Assignment, &'static str> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok(Assignment {
            name: name.to_owned(),
            value: Secret::new(value),
        }),
        _ => Err("write NAME=VALUE"),
    }
}

impl Envs {
    pub(super) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        target: &Target,
    ) -> Outcome {
        let app = target.find(session).await?;
        match &self.verb {
            None => show(session, &app).await,
            Some(Verb::Set { assignments }) => {
                for assignment in assignments {
                    session.client.hide(assignment.value.clone());
                }
                let vars = assignments.iter().map(|Assignment { name, value }| {
                    let value = match value.expose() {
                        "" => Value::Null,
                        value => Value::from(value),
                    };
                    (name.clone(), value)
                });
                change(session, &app, vars.collect()).await
            }
            Some(Verb::Unset { names }) => {
                let vars = names.iter().map(|name| (name.clone(), Value::Null));
                change(session, &app, vars.collect()).await
            }
        }
    }
}

/// In the form that `envs set` takes, so that a line can be pasted there.
async fn show(session: &mut Session<'_, '_>, app: &App) -> Outcome {
    let vars = app.get(session, "env_vars").await?;
    if session.screen.wants_json() {
        session.screen.json(&vars)?;
        return Ok(0);
    }
    for (name, value) in vars.as_object().into_iter().flatten() {
        let value = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        session.screen.line(&format!("{name}={value}"))?;
    }
    Ok(0)
}

async fn change(session: &mut Session<'_, '_>, app: &App, vars: Map<String, Value>) -> Outcome {
    let (set, unset): (Vec<_>, Vec<_>) = vars.iter().partition(|(_, value)| !value.is_null());
    let names = |vars: &[(&String, &Value)]| {
        let names: Vec<&str> = vars.iter().map(|(name, _)| name.as_str()).collect();
        names.join(", ")
    };
    let (set, unset) = (names(&set), names(&unset));
    let answer = put(session, app, vars).await?;
    if session.screen.wants_json() {
        session.screen.json(&answer)?;
        return Ok(0);
    }
    if !set.is_empty() {
        session.screen.line(&format!("Set {set}."))?;
    }
    if !unset.is_empty() {
        session.screen.line(&format!("Removed {unset}."))?;
    }
    session
        .screen
        .note("Processes that run are started anew with it.")?;
    Ok(0)
}

async fn put(session: &Session<'_, '_>, app: &App, vars: Map<String, Value>) -> Result<Value> {
    let next = "see `pilvi mar envs` for the vars that are set; some names are the platform's own";
    app.put(session, "env_vars", &Value::Object(vars))
        .await
        .map_err(|failure: Failure| failure.on(Code::Refused, next))
}
