//! `pilvi tokens`: one's own access tokens, those of a cloud, or those of an instance.

use clap::{Args, Subcommand};
use serde_json::json;

use crate::connection::Connection;
use crate::failure::{Code, Outcome, Result};
use crate::session::{Session, text};
use crate::table::{elastic, whole};
use crate::url::segment;

#[derive(Args, Clone, Debug)]
pub struct Tokens {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Not your own ones, but those of the cloud that is meant: with such a token programs work for it
    #[arg(long, global = true, conflicts_with = "instance")]
    of_cloud: bool,
    /// Not your own ones, but the security tokens of this instance
    #[arg(long, global = true, value_name = "ID")]
    instance: Option<String>,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// List the tokens (this is what no verb does, too)
    List,
    /// Make a token and print it; your own one is shown this once
    Create {
        /// What it is for; only your own ones have names
        name: Option<String>,
        /// Let your own one end at this moment, such as 2027-01-31T00:00:00Z
        #[arg(long, value_name = "MOMENT")]
        expires: Option<String>,
    },
    /// Remove a token, which is refused from then on
    Remove {
        /// Its id, which the list shows
        id: u64,
    },
}

impl Tokens {
    pub(crate) async fn carry_out(&self, session: &mut Session<'_, '_>) -> Outcome {
        let resource = self.resource(session).await?;
        match &self.verb {
            None | Some(Verb::List) => self.list(session, &resource).await,
            Some(Verb::Create { name, expires }) => {
                let mut body = json!({});
                if let Some(name) = name {
                    body["name"] = name.as_str().into();
                }
                if let Some(moment) = expires {
                    body["expiresAt"] = moment.as_str().into();
                }
                create(session, &resource, &body).await
            }
            Some(Verb::Remove { id }) => remove(session, &resource, *id).await,
        }
    }

    /// Whose tokens.
    async fn resource(&self, session: &Session<'_, '_>) -> Result<String> {
        Ok(match &self.instance {
            Some(id) => format!("instances/{}/authorizations", segment(id)),
            None if self.of_cloud => {
                let account = session.account().await?;
                format!("accounts/{}/authorizations", segment(&account.id))
            }
            None => "authorizations".to_owned(),
        })
    }

    async fn list(&self, session: &mut Session<'_, '_>, resource: &str) -> Outcome {
        let answer = session.client.get(&session.platform, resource).await?;
        if self.of_cloud || self.instance.is_some() {
            let columns = [whole("ID"), whole("TOKEN"), elastic("CREATED")];
            return session.show_list(&answer, "There are no tokens yet.", &columns, |token| {
                ["id", "access_token", "createdAt"].map(|field| text(token, field))
            });
        }
        let columns = [
            whole("ID"),
            elastic("NAME"),
            elastic("CREATED"),
            elastic("LAST USED"),
            elastic("EXPIRES"),
        ];
        session.show_list(&answer, "There are no tokens yet.", &columns, |token| {
            ["id", "name", "createdAt", "lastUsedAt", "expiresAt"].map(|field| text(token, field))
        })
    }
}

async fn create(
    session: &mut Session<'_, '_>,
    resource: &str,
    body: &serde_json::Value,
) -> Outcome {
    let answer = session
        .client
        .post(&session.platform, resource, body)
        .await
        .map_err(|failure| {
            let next = "see `pilvi tokens` for those that there are; remove one that is not needed";
            failure.on(Code::Refused, next)
        })?;
    if session.screen.wants_json() {
        session.screen.json(&answer)?;
        return Ok(0);
    }
    // Alone on standard output, so that `$(pilvi tokens create)` works.
    session.screen.line(&text(&answer, "access_token"))?;
    let id = text(&answer, "id");
    session.screen.note(&format!(
        "This is token {id}. Remove it with: pilvi tokens remove {id}"
    ))?;
    Ok(0)
}

async fn remove(session: &mut Session<'_, '_>, resource: &str, id: u64) -> Outcome {
    let resource = format!("{resource}/{id}");
    let answer = session.client.delete(&session.platform, &resource).await;
    let answer = answer.map_err(|failure| {
        let next = "see `pilvi tokens` for the ids of those that there are";
        failure.on(Code::NotFound, next)
    })?;
    session.done(
        &answer,
        &format!("Removed the token {id}. It is refused from now on."),
    )
}
