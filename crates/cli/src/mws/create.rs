//! `pilvi mws create`.

use clap::Args;
use serde_json::{Map, json};

use crate::failure::Outcome;
use crate::service::{Common, Instance, Kind, create};
use crate::session::Session;

#[derive(Args, Clone, Debug)]
pub(super) struct Create {
    #[command(flatten)]
    common: Common,
    /// Let everybody who knows its id send and listen, as apps of 2014 expect
    #[arg(long, conflicts_with = "users_of")]
    open: bool,
    /// Let the users of this data backend in, by its id or its name
    #[arg(long, value_name = "BACKEND")]
    users_of: Option<String>,
}

impl Create {
    pub(super) async fn carry_out(&self, session: &mut Session<'_, '_>) -> Outcome {
        let mode = match (&self.users_of, self.open) {
            (Some(_), _) => "eds",
            (None, true) => "none",
            (None, false) => "custom",
        };
        let mut config = Map::from_iter([("accessControl".to_owned(), mode.into())]);
        if let Some(backend) = &self.users_of {
            let backend = Instance::find(session, Kind::Eds, Some(backend)).await?;
            let provider = json!({"type": "eds", "backendId": backend.id});
            config.insert("identityProvider".into(), provider);
        }
        create(session, Kind::Mws, &self.common, config, None).await
    }
}
