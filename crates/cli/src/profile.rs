//! `pilvi profile`: what a person is called, their address and their password.

use clap::Args;
use pilvi_base::Secret;
use serde_json::{Value, json};

use crate::connection::Connection;
use crate::failure::{Code, Failure, Outcome, Result};
use crate::session::{Session, text};

#[derive(Args, Clone, Debug)]
pub struct Profile {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Be called this from now on
    #[arg(long, value_name = "NAME", required_unless_present_any = ["email", "password"])]
    name: Option<String>,
    /// Have this e-mail address; a mail to it says how to confirm it
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// Set another password: the present one, empty where there is none, and the new one are asked for, or read from
    /// standard input, a line each
    #[arg(long)]
    password: bool,
}

impl Profile {
    pub(crate) async fn carry_out(&self, session: &mut Session<'_, '_>) -> Outcome {
        let mut client = session.client.again();
        let mut body = json!({});
        if let Some(name) = &self.name {
            body["name"] = name.as_str().into();
        }
        if let Some(email) = &self.email {
            body["email"] = email.as_str().into();
        }
        if self.password {
            let present = session.read_password("Present password (none: just Enter): ")?;
            let new = new_password(session)?;
            for (field, secret) in [("currentPassword", present), ("password", new)] {
                if !secret.expose().is_empty() {
                    body[field] = secret.expose().into();
                }
                client.hide(secret);
            }
        }
        let answer = client.put(&session.platform, "user", &body).await;
        let answer = answer.map_err(|failure| {
            let next = "this is the token of a cloud or of an instance; sign in as yourself with `pilvi login`";
            failure.on(Code::Forbidden, next)
        })?;
        session.done(&answer, &self.in_words(&answer))
    }

    fn in_words(&self, answer: &Value) -> String {
        let mut said = Vec::new();
        if self.name.is_some() {
            said.push(format!("You are called {} now.", text(answer, "name")));
        }
        if self.email.is_some() {
            said.push(match text(answer, "awaitedEmail") {
                address if address.is_empty() => {
                    format!("Your address is {} now.", text(answer, "email"))
                }
                address => format!("A mail to {address} says how to confirm that address."),
            });
        }
        if self.password {
            said.push("The new password holds from now on.".into());
        }
        said.join(" ")
    }
}

fn new_password(session: &mut Session<'_, '_>) -> Result<Secret> {
    let new = session.read_password("New password: ")?;
    if new.expose().is_empty() {
        return Err(Failure::usage(
            "no new password was given",
            "call the command again and type it, or write it to standard input as the second line",
        ));
    }
    if session.place.asks && session.read_password("Once more: ")?.expose() != new.expose() {
        return Err(Failure::usage(
            "the two are not the same, so nothing was changed",
            "call the command again",
        ));
    }
    Ok(new)
}
