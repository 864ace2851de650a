//! `pilvi eds create`.

use clap::Args;
use serde_json::Map;

use crate::failure::Outcome;
use crate::service::{Common, Kind, create};
use crate::session::Session;

#[derive(Args, Clone, Debug)]
pub(super) struct Create {
    #[command(flatten)]
    common: Common,
    /// Let everybody who knows its id read and change everything in it, as apps of 2014 expect
    #[arg(long)]
    open: bool,
}

impl Create {
    pub(super) async fn carry_out(&self, session: &mut Session<'_, '_>) -> Outcome {
        let openness = if self.open { "open" } else { "private" };
        let config = Map::from_iter([("openness".to_owned(), openness.into())]);
        create(session, Kind::Eds, &self.common, config).await
    }
}
