//! `pilvi clouds invite` and `invitations`, and for the invited `invited`, `join` and `decline`.

use clap::{Args, Subcommand};
use serde_json::json;

use super::members::Role;
use super::{below, only};
use crate::failure::{Code, Failure, Outcome};
use crate::session::{Session, text};
use crate::table::{elastic, whole};
use crate::url::segment;

const CODE_CHARS_MIN: usize = 20;

#[derive(Args, Clone, Debug)]
pub(super) struct Invitations {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// List the invitations that are not answered yet (this is what no verb does, too)
    List,
    /// Withdraw an invitation
    Withdraw {
        /// Its e-mail address or its id
        invitation: String,
    },
}

impl Invitations {
    pub(super) async fn carry_out(&self, session: &mut Session<'_, '_>) -> Outcome {
        match &self.verb {
            None | Some(Verb::List) => list(session).await,
            Some(Verb::Withdraw { invitation }) => withdraw(session, invitation).await,
        }
    }
}

async fn list(session: &mut Session<'_, '_>) -> Outcome {
    let (_, answer) = below(session, "invitations").await?;
    let columns = [
        whole("ID"),
        elastic("E-MAIL"),
        whole("ROLE"),
        elastic("EXPIRES"),
    ];
    session.show_list(
        &answer,
        "No invitation waits for an answer.",
        &columns,
        |invitation| ["id", "email", "role", "expiresAt"].map(|field| text(invitation, field)),
    )
}

async fn withdraw(session: &mut Session<'_, '_>, named: &str) -> Outcome {
    let (resource, list) = below(session, "invitations").await?;
    let invitation = only(&list, &["id", "email"], named).ok_or_else(|| {
        Failure::new(
            Code::NotFound,
            format!("no invitation of {named} waits for an answer"),
            "see `pilvi clouds invitations` for those that do",
        )
    })?;
    let email = text(invitation, "email");
    let resource = format!("{resource}/{}", segment(&text(invitation, "id")));
    let answer = session.client.delete(&session.platform, &resource).await?;
    session.done(&answer, &format!("Withdrew the invitation of {email}."))
}

pub(super) async fn invite(session: &mut Session<'_, '_>, email: &str, role: Role) -> Outcome {
    let account = session.account().await?;
    let resource = format!("accounts/{}/invitations", segment(&account.id));
    let body = json!({"email": email, "role": role.as_str()});
    let answer = session
        .client
        .post(&session.platform, &resource, &body)
        .await;
    let answer = answer.map_err(|failure| {
        let next =
            "see `pilvi clouds members` and `pilvi clouds invitations` for who is in it or invited";
        failure.on(Code::Refused, next)
    })?;
    let line = format!(
        "Invited {email} to the cloud {} as {}. The mail says what to do next.",
        account.name,
        role.as_str()
    );
    session.done(&answer, &line)
}

pub(super) async fn join(session: &mut Session<'_, '_>, key: Option<&str>) -> Outcome {
    let key = match key {
        Some(key) => key.to_owned(),
        None => {
            if session.place.asks {
                session
                    .screen
                    .note("Type or paste the code from the mail:")?;
            }
            session.read_line()?
        }
    };
    let (resource, body) = match key.trim() {
        // Codes are far longer than any number.
        number if number.len() < CODE_CHARS_MIN && number.parse::<u64>().is_ok() => {
            (format!("user/invitations/{number}"), json!({}))
        }
        code => ("user/invitations".to_owned(), json!({ "code": code })),
    };
    let answer = session
        .client
        .post(&session.platform, &resource, &body)
        .await;
    let answer = answer.map_err(|failure| {
        let next = "see `pilvi clouds invited`, or ask whoever invited you to do so again; a code works once";
        failure.on(Code::NotFound, next).on(Code::Refused, next)
    })?;
    let line = format!(
        "You are in the cloud {} ({}) now, as {}.",
        text(&answer, "name"),
        text(&answer, "id"),
        text(&answer, "role")
    );
    session.done(&answer, &line)
}

pub(super) async fn invited(session: &mut Session<'_, '_>) -> Outcome {
    let answer = session
        .client
        .get(&session.platform, "user/invitations")
        .await?;
    let columns = [
        whole("ID"),
        elastic("CLOUD"),
        whole("ROLE"),
        elastic("INVITED BY"),
        elastic("EXPIRES"),
    ];
    session.show_list(
        &answer,
        "No invitation waits for you.",
        &columns,
        |invitation| {
            [
                text(invitation, "id"),
                text(&invitation["account"], "name"),
                text(invitation, "role"),
                text(invitation, "invitedBy"),
                text(invitation, "expiresAt"),
            ]
        },
    )
}

pub(super) async fn decline(session: &mut Session<'_, '_>, id: u64) -> Outcome {
    let resource = format!("user/invitations/{id}");
    let answer = session.client.delete(&session.platform, &resource).await;
    let answer = answer.map_err(|failure| {
        let next = "see `pilvi clouds invited` for those that wait for you";
        failure.on(Code::NotFound, next)
    })?;
    session.done(&answer, &format!("Declined the invitation {id}."))
}
