//! `token`: the security tokens of an instance, which open all of it.

use clap::{Args, Subcommand};
use serde_json::json;

use super::Instance;
use crate::failure::{Code, Outcome};
use crate::session::{Session, text};
use crate::table::{elastic, whole};
use crate::url::segment;

#[derive(Args, Clone, Debug)]
pub(crate) struct Token {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// List the tokens by their numbers
    List,
    /// Make another token and print it
    New,
    /// Make a token worthless, at once
    Remove {
        /// Its number, which `token list` shows
        number: u64,
    },
}

impl Token {
    /// Without a verb the token alone is printed, so that a script can take it.
    pub(crate) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        instance: &Instance,
    ) -> Outcome {
        match &self.verb {
            None => {
                let token = instance.token(session).await?;
                let answer = json!({"access_token": token.expose()});
                session.done(&answer, token.expose())
            }
            Some(Verb::List) => list(session, instance).await,
            Some(Verb::New) => new(session, instance).await,
            Some(Verb::Remove { number }) => remove(session, instance, *number).await,
        }
    }
}

async fn list(session: &mut Session<'_, '_>, instance: &Instance) -> Outcome {
    let answer = instance.tokens(session).await?;
    let columns = [whole("NUMBER"), elastic("TOKEN"), whole("CREATED")];
    session.show_list(&answer, "There are no tokens.", &columns, |token| {
        // Enough to know it by; `token` and --json show all of it.
        let start: String = text(token, "access_token").chars().take(8).collect();
        [text(token, "id"), start + "…", text(token, "createdAt")]
    })
}

async fn new(session: &mut Session<'_, '_>, instance: &Instance) -> Outcome {
    let resource = instance.resource("/authorizations");
    let answer = session
        .client
        .post(&session.platform, &resource, &json!({}))
        .await?;
    session.done(&answer, &text(&answer, "access_token"))
}

async fn remove(session: &mut Session<'_, '_>, instance: &Instance, number: u64) -> Outcome {
    let resource = instance.resource(&format!("/authorizations/{}", segment(&number.to_string())));
    let answer = session
        .client
        .delete(&session.platform, &resource)
        .await
        .map_err(|failure| {
            let next = format!(
                "see `pilvi {} token list` for the numbers",
                instance.kind.id()
            );
            failure.on(Code::NotFound, next)
        })?;
    let line = format!("Removed the token {number}. It opens nothing any more.");
    session.done(&answer, &line)
}
