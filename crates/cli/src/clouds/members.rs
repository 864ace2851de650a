//! `pilvi clouds members`, and `leave`.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{below, only};
use crate::failure::{Code, Failure, Outcome, Result};
use crate::session::{Session, text};
use crate::table::{elastic, whole};
use crate::url::segment;

#[derive(Args, Clone, Debug)]
pub(super) struct Members {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// List the members (this is what no verb does, too)
    List,
    /// Let a member do more or less
    Role {
        /// The member's e-mail address or id
        person: String,
        /// What they may do from then on
        #[arg(value_enum)]
        role: Role,
    },
    /// Remove a member
    Remove {
        /// The member's e-mail address or id
        person: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// What a member may do.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Role {
    /// All, and say who else may
    Owner,
    /// Create, change and remove instances
    Developer,
    /// Look
    Viewer,
}

impl Role {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Developer => "developer",
            Self::Viewer => "viewer",
        }
    }
}

impl Members {
    pub(super) async fn carry_out(&self, session: &mut Session<'_, '_>) -> Outcome {
        match &self.verb {
            None | Some(Verb::List) => list(session).await,
            Some(Verb::Role { person, role }) => set_role(session, person, *role).await,
            Some(Verb::Remove { person, yes }) => remove(session, person, *yes).await,
        }
    }
}

async fn list(session: &mut Session<'_, '_>) -> Outcome {
    let (_, answer) = below(session, "members").await?;
    let columns = [
        whole("ID"),
        elastic("E-MAIL"),
        elastic("NAME"),
        whole("ROLE"),
    ];
    session.show_list(&answer, "Nobody is in this cloud.", &columns, |member| {
        ["id", "email", "name", "role"].map(|field| text(member, field))
    })
}

async fn set_role(session: &mut Session<'_, '_>, person: &str, role: Role) -> Outcome {
    let (resource, member) = find(session, person).await?;
    let body = json!({ "role": role.as_str() });
    let answer = session
        .client
        .put(&session.platform, &resource, &body)
        .await;
    let answer = answer.map_err(|failure| {
        failure.on(
            Code::Refused,
            "make somebody else an owner first: a cloud has at least one",
        )
    })?;
    let line = format!(
        "{} is {} of this cloud now.",
        text(&member, "email"),
        role.as_str()
    );
    session.done(&answer, &line)
}

async fn remove(session: &mut Session<'_, '_>, person: &str, yes: bool) -> Outcome {
    let (resource, member) = find(session, person).await?;
    let email = text(&member, "email");
    session.confirm_removal(
        &email,
        "from the cloud and can do nothing in it any more",
        yes,
    )?;
    let answer = delete(session, &resource).await?;
    session.done(&answer, &format!("Removed {email} from this cloud."))
}

pub(super) async fn leave(session: &mut Session<'_, '_>, yes: bool) -> Outcome {
    let account = session.account().await?;
    let user = session.client.get(&session.platform, "user").await?;
    session.confirm_removal(
        &text(&user, "email"),
        &format!("from the cloud {}", account.name),
        yes,
    )?;
    let (cloud, person) = (segment(&account.id), segment(&text(&user, "id")));
    let answer = delete(session, &format!("accounts/{cloud}/members/{person}")).await?;
    session.done(
        &answer,
        &format!("You have left the cloud {}.", account.name),
    )
}

async fn delete(session: &Session<'_, '_>, resource: &str) -> Result<Value> {
    let answer = session.client.delete(&session.platform, resource).await;
    answer.map_err(|failure| {
        let next = "make somebody else an owner first (`pilvi clouds members role ADDRESS owner`)";
        failure.on(Code::Refused, next)
    })
}

/// The member with this address or id.
pub(super) async fn find(session: &Session<'_, '_>, person: &str) -> Result<(String, Value)> {
    let (resource, members) = below(session, "members").await?;
    let member = only(&members, &["id", "email"], person).ok_or_else(|| {
        Failure::new(
            Code::NotFound,
            format!("{person} is no member of this cloud"),
            "see `pilvi clouds members` for its members",
        )
    })?;
    let resource = format!("{resource}/{}", segment(&text(member, "id")));
    Ok((resource, member.clone()))
}
