//! `pilvi gateway`: one WebSocket gateway and nothing else, in the place of the open-source server (`mws.md` §10).
//!
//! There is no data folder and no other service. What the gateway is like stands in the environment, in the variables
//! of the original; `setup` reads them, `users` asks a data backend elsewhere who its users are. The service itself is
//! the one of the cloud.

mod setup;
mod users;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use pilvi_base::{Clock, TaskGroup};
use pilvi_core::egress::{Egress, Place, Policy};
use pilvi_mws::{Limits, Mws};
use pilvi_web::{Door, Hosts, Service};
use serde_json::json;
use tokio::net::TcpListener;

use crate::arguments::GatewayOptions;
use crate::files::{self, Shares};
use crate::health::{self, Watched};
use crate::listeners;
use crate::notify;
use crate::running::Signals;
use setup::Setup;

/// Where it answers.
struct Addresses {
    http: SocketAddr,
    health: Option<SocketAddr>,
}

/// Answers until it is told to stop.
pub(crate) async fn run(options: &GatewayOptions) -> anyhow::Result<()> {
    let clock = Clock::system();
    let setup = Setup::read(options, clock.now().into())?;
    for warning in &setup.warnings {
        tracing::warn!("{warning}");
    }
    if setup.names_a_bus {
        tracing::info!("REDIS_HOST is not used: one process needs no message bus");
    }
    let listener = bind(options)?;
    let health_listener = match options.health {
        Some(address) => Some(listeners::bind(address, "--health")?),
        None => None,
    };
    let addresses = Addresses {
        http: listener.local_addr()?,
        health: health_listener
            .as_ref()
            .map(TcpListener::local_addr)
            .transpose()?,
    };
    let tasks = TaskGroup::new();
    let shares = Shares::of(files::raise_limit());
    let mut mws = Mws::single(setup.gateway, clock.clone(), limits(shares), tasks.clone())
        .context("could not start the reactors of the gateway")?;
    if let Some(users) = setup.users {
        mws = mws.with_users(Arc::new(users.with_clock(clock)));
    }
    let policy = Policy {
        // Whoever starts the gateway named it.
        trusted: setup
            .events
            .as_ref()
            .and_then(Place::of)
            .into_iter()
            .collect(),
        ..Policy::default()
    };
    mws.tell_events(Egress::outward(policy));
    if let Some(listener) = health_listener {
        let watched = Watched {
            platform: None,
            mws: mws.clone(),
        };
        tasks.spawn("health", health::serve(listener, watched, tasks.clone()));
    }
    let door = Door::new(Hosts::of(Service::Mws), shares.of_the_door())
        .site(Service::Mws, mws.site())
        .sockets(Arc::new(mws));
    let mut signals = Signals::listen()?;
    tasks.spawn("http", Arc::new(door).serve(listener, None, tasks.clone()));
    announce(options, addresses);
    signals.drain(&tasks).await?.settle(&tasks)
}

fn bind(options: &GatewayOptions) -> anyhow::Result<TcpListener> {
    let address = options.address()?;
    listeners::listen(address).with_context(|| {
        format!("could not listen on {address}; choose another port with PORT, or an address with --http")
    })
}

/// All there is belongs to the one gateway.
fn limits(shares: Shares) -> Limits {
    let usual = Limits::default();
    Limits {
        sockets_max: shares.sockets as usize,
        sockets_per_gateway_max: shares.sockets as usize,
        reservations_per_gateway_max: usual.reservations_max,
        ..usual
    }
}

fn announce(options: &GatewayOptions, Addresses { http, health }: Addresses) {
    notify::ready(&format!("Answers at http://{http}"));
    if options.json {
        let mut line = json!({"http": format!("http://{http}")});
        if let Some(health) = health {
            line["health"] = json!(format!("http://{health}"));
        }
        return println!("{line}");
    }
    println!("The gateway answers at http://{http}");
    if let Some(health) = health {
        println!("Its health and metrics are at http://{health}");
    }
    println!("Ctrl-C stops it.");
}
