//! `pilvi mar remove`.

use clap::Args;

use super::target::Target;
use crate::failure::Outcome;
use crate::session::Session;
use crate::url::segment;

const LOSS: &str = "with its repository, releases, logs and config vars";

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
        session.confirm_removal(&id, LOSS, self.yes)?;
        let resource = format!("instances/{}", segment(&id));
        let answer = session.client.delete(&session.platform, &resource).await?;
        session.done(&answer, &crate::instances::removed(&id))
    }
}
