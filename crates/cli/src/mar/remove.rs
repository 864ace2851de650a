//! `pilvi mar remove`.

use std::io::BufRead;

use clap::Args;

use super::target::Target;
use crate::failure::{Failure, Outcome, Result};
use crate::session::Session;
use crate::url::segment;

#[derive(Args, Clone, Debug)]
pub(super) struct Remove {
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl Remove {
    pub(super) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        target: &Target,
    ) -> Outcome {
        let id = target.id(&session.place.folder)?;
        if !self.yes {
            confirm(session, &id)?;
        }
        let resource = format!("instances/{}", segment(&id));
        let answer = session.client.delete(&session.platform, &resource).await?;
        if session.screen.wants_json() {
            session.screen.json(&answer)?;
        } else {
            let line = format!("Removed {id} with its repository, releases, logs and config vars.");
            session.screen.line(&line)?;
        }
        Ok(0)
    }
}

/// Whoever means it can type the id.
fn confirm(session: &mut Session<'_, '_>, id: &str) -> Result<()> {
    if !session.place.asks {
        return Err(Failure::usage(
            format!("{id} would be removed with everything that belongs to it"),
            "add --yes when you mean it",
        ));
    }
    session.screen.note(&format!(
        "{id} will be removed with its repository, releases, logs and config vars. Type its id to go on:"
    ))?;
    let mut typed = String::new();
    std::io::stdin().lock().read_line(&mut typed)?;
    if typed.trim() == id {
        return Ok(());
    }
    Err(Failure::usage(
        "that is another id, so nothing was removed",
        "call the command again, or add --yes",
    ))
}
