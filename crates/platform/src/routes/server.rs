//! The server itself.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use pilvi_web::{Arrival, Reply};

use super::Answer;
use crate::wire::{self, List};
use crate::{Caller, Platform};

pub(super) fn routes() -> Router<Platform> {
    Router::new()
        .route("/v1/datacenters", get(list_datacenters))
        .route("/v1/ping", get(ping))
}

/// The service discovery of the command line. It lists what this server runs: who finds `mar` here takes it for
/// running.
async fn list_datacenters(State(platform): State<Platform>, _: Caller, arrival: Arrival) -> Answer {
    let services: Vec<_> = platform
        .providers()
        .map(|provider| wire::ServiceAddress {
            id: provider.as_str(),
            url: arrival.base("http"),
        })
        .collect();
    let datacenters = platform
        .settings
        .datacenters()
        .map(|known| wire::DatacenterWithServices {
            id: known.id(),
            description: &known.description,
            services: &services,
        });
    Ok(Reply::ok(&List::from_iter(datacenters)))
}

async fn ping() -> Reply {
    Reply::empty()
}
