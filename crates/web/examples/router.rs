//! A door with nothing behind it but one app, whose processes are the addresses given: what `cargo xtask bench mar`
//! measures beside other proxies.
//!
//! `router LISTEN HOST UPSTREAM…`
#![expect(
    clippy::print_stdout,
    reason = "this is a command: it says when it is ready"
)]

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use pilvi_base::TaskGroup;
use pilvi_edge::{Absence, BoxFuture, Edge, Journal, Route, RouterEvent, Settings, Upstream};
use pilvi_web::{Door, Hosts, Limits};
use tokio::net::{TcpListener, TcpStream};

struct Silent;

impl Journal for Silent {
    fn note(&self, _: &str, _: RouterEvent<'_>) {}
}

struct Process {
    id: String,
    address: SocketAddr,
}

impl Upstream for Process {
    fn id(&self) -> &str {
        &self.id
    }

    fn dial(&self) -> BoxFuture<'_, io::Result<TcpStream>> {
        Box::pin(TcpStream::connect(self.address))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: router LISTEN HOST UPSTREAM…";
    let listen: SocketAddr = arguments.next().ok_or(usage)?.parse()?;
    let host = arguments.next().ok_or(usage)?;
    let mut upstreams: Vec<Arc<dyn Upstream>> = Vec::new();
    for (at, address) in arguments.enumerate() {
        let id = format!("web.{}", at + 1);
        let address = address.parse()?;
        upstreams.push(Arc::new(Process { id, address }));
    }
    let tasks = TaskGroup::new();
    let edge = Edge::new(Settings::default(), Arc::new(Silent), tasks.clone());
    edge.publish(Route {
        app: "app".to_owned(),
        hosts: vec![host],
        upstreams,
        absence: Absence::NeverDeployed,
        certificate: None,
    });
    let listener = TcpListener::bind(listen).await?;
    println!("{}", listener.local_addr()?);
    let door = Door::new(Hosts::shared(), Limits::default()).apps(edge);
    Arc::new(door).serve(listener, None, tasks).await;
    Ok(())
}
