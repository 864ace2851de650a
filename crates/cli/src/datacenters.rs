//! `pilvi datacenters`.

use clap::Args;
use serde_json::Value;

use crate::connection::Connection;
use crate::failure::Outcome;
use crate::session::{Session, array, text};
use crate::table::{elastic, whole};

#[derive(Args, Clone, Debug)]
pub struct Datacenters {
    #[command(flatten)]
    pub(crate) connection: Connection,
}

impl Datacenters {
    pub(crate) async fn carry_out(&self, session: &mut Session<'_, '_>) -> Outcome {
        let answer = session.client.get(&session.platform, "datacenters").await?;
        let columns = [whole("ID"), elastic("DESCRIPTION"), elastic("SERVICES")];
        session.show_list(
            &answer,
            "The server has no datacenter.",
            &columns,
            |center| {
                let services = array(&center["services"]).iter().map(in_words);
                let services = services.collect::<Vec<_>>().join(", ");
                [text(center, "id"), text(center, "description"), services]
            },
        )
    }
}

fn in_words(service: &Value) -> String {
    format!("{} {}", text(service, "id"), text(service, "url"))
}
