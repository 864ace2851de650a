//! `pilvi mar stack`.

use clap::{Args, Subcommand};
use serde_json::json;

use super::target::Target;
use crate::failure::{Code, Outcome};
use crate::session::{Session, text};

#[derive(Args, Clone, Debug)]
pub(super) struct Stack {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// Build the next push on another stack
    Set { name: String },
}

impl Stack {
    pub(super) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        target: &Target,
    ) -> Outcome {
        let app = target.find(session).await?;
        let Some(Verb::Set { name }) = &self.verb else {
            let facts = app.get(session, "").await?;
            if session.screen.wants_json() {
                session.screen.json(&json!({"stack": facts["stack"]}))?;
            } else {
                session.screen.line(&text(&facts, "stack"))?;
            }
            return Ok(0);
        };
        let answer = app
            .put(session, "", &json!({ "stack": name }))
            .await
            .map_err(|failure| {
                let next = "ask the server's operator which stacks there are; `host` and `cedar-14` are common";
                failure.on(Code::Refused, next)
            })?;
        session.done(
            &answer,
            &format!("The next push to {} is built on {name}.", app.id),
        )
    }
}
