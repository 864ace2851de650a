//! `remove` of a service.

use clap::Args;

use super::Instance;
use crate::failure::Outcome;
use crate::instances;
use crate::session::{Session, text};

#[derive(Args, Clone, Debug)]
pub(crate) struct Remove {
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Do not keep it for some days: it cannot be brought back
    #[arg(long)]
    now: bool,
}

impl Remove {
    pub(crate) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        instance: &Instance,
    ) -> Outcome {
        let Instance { kind, id, facts } = instance;
        let called = format!("{id} ({})", text(facts, "name"));
        let mut loss = format!("with its {}", kind.belongings());
        let (query, line) = match self.now {
            true => {
                let line = format!("Removed {called} {loss}.");
                loss += ", and cannot be brought back";
                ("?now=true", line)
            }
            false => ("", instances::removed(id)),
        };
        session.confirm_removal(id, &loss, self.yes)?;
        let answer = session
            .client
            .delete(&session.platform, &instance.resource(query))
            .await?;
        session.done(&answer, &line)
    }
}
