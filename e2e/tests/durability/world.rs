//! A cloud that survives its server: the same folder and the same address for every start.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pilvi_e2e::api::{Backend, Gateway, text};
use pilvi_e2e::collector::Collector;
use pilvi_e2e::http::Request;
use pilvi_e2e::server::{Options, Server};
use pilvi_e2e::{shape, wait};
use serde_json::{Value, json};

/// How long deliveries may take to be settled once nothing stands in their way.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);

/// Backends, each with a webhook that leads to the collector and one that leads to the server's own gateway.
pub(crate) struct World {
    pub(crate) data: PathBuf,
    addresses: [SocketAddr; 2],
    pub(crate) tenants: Vec<Tenant>,
    pub(crate) gateway: Gateway,
    pub(crate) collector: Collector,
    /// The platform's account and token.
    pub(crate) cloud: pilvi_e2e::api::Cloud,
}

pub(crate) struct Tenant {
    pub(crate) backend: Backend,
    /// The ids of its webhooks: collector, gateway.
    pub(crate) webhooks: [String; 2],
}

impl Tenant {
    /// The path under which the collector is told of this backend.
    pub(crate) fn path(&self) -> String {
        format!("/{}", self.backend.id)
    }
}

impl World {
    /// Starts a server on an empty folder and makes so many backends.
    pub(crate) fn new(data: &Path, backends: usize) -> (Self, Server) {
        // A loopback address of its own, so that nobody takes the ports between two starts.
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let own = SocketAddr::from(([127, 77, high, low.clamp(1, 254)], 0));
        let server = Server::start(&Options {
            http: own,
            https: own,
            data: Some(data.to_owned()),
            ..Options::serve()
        });
        let cloud = server.cloud();
        let gateway = cloud.create_gateway("messages");
        let collector = Collector::start();
        let tenants = (0..backends)
            .map(|number| {
                let backend = cloud.create_backend(&format!("tenant {number}"));
                let webhooks = webhooks(&server, &backend, &gateway, &collector);
                Tenant { backend, webhooks }
            })
            .collect();
        let world = Self {
            data: data.to_owned(),
            addresses: [server.http, server.https()],
            tenants,
            gateway,
            collector,
            cloud,
        };
        (world, server)
    }

    /// Starts the server again.
    pub(crate) fn start(&self) -> Server {
        let [http, https] = self.addresses;
        Server::start(&Options {
            http,
            https,
            data: Some(self.data.clone()),
            ..Options::serve()
        })
    }

    /// Where the server is.
    pub(crate) fn http(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Waits until none of our webhooks has a delivery pending.
    pub(crate) fn wait_until_settled(&self) {
        for tenant in &self.tenants {
            for webhook in &tenant.webhooks {
                let what = format!("webhook {webhook} to have nothing pending");
                wait::until(&what, SETTLED_WITHIN, || {
                    let deliveries = deliveries(&tenant.backend, webhook);
                    let pending = deliveries.iter().any(|one| one["state"] == "pending");
                    (!pending).then_some(())
                });
            }
        }
    }
}

/// The newest lines of a webhook's log.
pub(crate) fn deliveries(backend: &Backend, webhook: &str) -> Vec<Value> {
    let path = format!("/v1/webhooks/{webhook}/deliveries?limit=1000");
    let reply = backend.send_as_admin(Request::get(path)).must_be(200);
    shape::results(&reply).to_vec()
}

fn webhooks(
    server: &Server,
    backend: &Backend,
    gateway: &Gateway,
    collector: &Collector,
) -> [String; 2] {
    let receiver = gateway.path("webhook_receivers/enginio");
    let hooks = [
        json!({"url": collector.url(&format!("/{}", backend.id))}),
        json!({
            "url": format!("http://{}{receiver}", server.http),
            "headers": {"Authorization": format!("Bearer {}", gateway.token)},
        }),
    ];
    hooks.map(|webhook| text(&backend.create_webhook(&webhook), "/id"))
}
