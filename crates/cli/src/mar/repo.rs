//! `pilvi mar repo`: what the server keeps of pushes.

use clap::{Args, Subcommand};

use super::target::Target;
use crate::failure::{Failure, Outcome};
use crate::session::Session;

#[derive(Args, Clone, Debug)]
pub(super) struct Repo {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// Forget what builds keep for the next one, such as downloaded packages
    PurgeCache,
    /// Empty the repository, so that the next push is the first; what runs goes on running
    Reset {
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

impl Repo {
    pub(super) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        target: &Target,
    ) -> Outcome {
        let (resource, line) = match &self.verb {
            Verb::PurgeCache => (
                "build_cache",
                "The next build begins without what earlier ones kept.",
            ),
            Verb::Reset { yes } => {
                let id = target.id(&session.place.folder)?;
                confirm(session, &id, *yes)?;
                (
                    "repository",
                    "The repository is empty. Fill it again with: git push",
                )
            }
        };
        let app = target.find(session).await?;
        let answer = app.delete(session, resource).await?;
        session.done(&answer, line)
    }
}

/// The commits are still with whoever pushed them, so a word is enough.
fn confirm(session: &mut Session<'_, '_>, id: &str, yes: bool) -> crate::failure::Result<()> {
    if yes {
        return Ok(());
    }
    if !session.place.asks {
        return Err(Failure::usage(
            format!("the repository of {id} would be emptied"),
            "add --yes when you mean it",
        ));
    }
    session.screen.note(&format!(
        "The repository of {id} will be emptied. Type yes to go on:"
    ))?;
    match session.read_line()?.trim() {
        "yes" => Ok(()),
        _ => Err(Failure::usage(
            "that was no yes, so nothing was done",
            "call the command again, or add --yes",
        )),
    }
}
