//! The servers of `bench mws`: each pushes what is posted to it to its sockets.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;

use super::pilvi::{Instance, Pilvi};
use crate::http::client::{Client, text};
use crate::http::request::Request;
use crate::install;
use crate::machine;
use crate::server::{Ready, Server, free_address};
use crate::world::World;
use crate::ws::tls::Certificate;

/// The tag of the ten.
const TAG: &str = "ten";

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Pilvi,
    BareJoined,
    BareEach,
    Bun,
    FastWebSockets,
    Ws,
    Nchan,
}

/// All of them, in the order of the columns.
pub(crate) const KINDS: [Kind; 7] = [
    Kind::Pilvi,
    Kind::BareJoined,
    Kind::BareEach,
    Kind::Bun,
    Kind::FastWebSockets,
    Kind::Nchan,
    Kind::Ws,
];

/// Whom a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    Everyone,
    Tag,
}

/// A running server of one kind.
pub(crate) struct Gateway {
    dialect: Dialect,
    server: Server,
    /// Where it takes sockets under TLS, if it does.
    secure: Option<SocketAddr>,
}

/// Where a server of somebody else is to take sockets under TLS, and its certificate.
struct Security {
    address: SocketAddr,
    certificate: Certificate,
}

enum Dialect {
    /// Only with the security token, so that every request is checked.
    Pilvi { gateway: Instance },
    /// Sockets at `/` and `/tag`, messages to `/publish/all` and `/publish/tag`.
    Plain,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pilvi => "pilvi",
            Self::BareJoined => "bare, joined",
            Self::BareEach => "bare, each",
            Self::Bun => "bun",
            Self::FastWebSockets => "fastwebsockets",
            Self::Ws => "ws",
            Self::Nchan => "nchan",
        }
    }

    /// Installs what it needs, as far as it can be had.
    pub(crate) fn prepare(self) -> Result<()> {
        match self {
            Self::Pilvi | Self::BareJoined | Self::BareEach => Ok(()),
            Self::Bun => install::bun().map(drop),
            Self::FastWebSockets => install::fastwebsockets().map(drop),
            Self::Ws => install::node_packages().map(drop),
            Self::Nchan => install::nchan().map(drop),
        }
    }

    /// Whether it can take sockets under TLS here.
    pub(crate) fn speaks_tls(self) -> bool {
        matches!(self, Self::Pilvi | Self::Bun | Self::Ws | Self::Nchan)
    }

    /// Starts it, with an address for sockets under TLS if it is to be `secure`.
    pub(crate) fn start(self, world: &World, secure: bool) -> Result<Gateway> {
        if self == Self::Pilvi {
            let (cloud, gateway) = pilvi(world)?;
            return Ok(Gateway {
                dialect: Dialect::Pilvi { gateway },
                secure: Some(cloud.secure),
                server: cloud.server,
            });
        }
        let security = match secure {
            true => Some(Security::make(world)?),
            false => None,
        };
        let server = match self {
            Self::Pilvi | Self::BareJoined => bare(world, "joined"),
            Self::BareEach => bare(world, "each"),
            Self::Bun => bun(world, security.as_ref()),
            Self::FastWebSockets => fastwebsockets(world),
            Self::Ws => ws(world, security.as_ref()),
            Self::Nchan => nchan(world, security.as_ref()),
        };
        Ok(Gateway {
            dialect: Dialect::Plain,
            server: server?,
            secure: security.map(|security| security.address),
        })
    }
}

impl Security {
    fn make(world: &World) -> Result<Self> {
        Ok(Self {
            address: free_address()?,
            certificate: Certificate::make(&world.empty_folder("certificate")?)?,
        })
    }

    /// As our scripts take it: port, certificate, key.
    fn arguments(&self) -> [OsString; 3] {
        let Certificate { certificate, key } = &self.certificate;
        let port = self.address.port().to_string();
        [port.into(), certificate.into(), key.into()]
    }
}

impl Gateway {
    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    pub(crate) fn secure(&self) -> Result<SocketAddr> {
        self.secure
            .context("this server takes no sockets under TLS")
    }

    /// What to ask for to open so many sockets, the first `tagged` of them with the tag.
    pub(crate) fn targets(&self, count: usize, tagged: usize) -> Result<Vec<String>> {
        let Dialect::Pilvi { gateway } = &self.dialect else {
            let target = |place| if place < tagged { "/tag" } else { "/" };
            return Ok((0..count).map(|place| target(place).to_owned()).collect());
        };
        let mut client = Client::connect(self.server.address)?;
        let mut reserve = |place: usize| {
            let tag = (place < tagged).then_some(TAG);
            gateway.reserve(&mut client, tag)
        };
        (0..count).map(&mut reserve).collect()
    }

    /// The request that publishes a message.
    pub(crate) fn publish(&self, message: &str, to: To) -> Vec<u8> {
        let request = match &self.dialect {
            Dialect::Pilvi { gateway } => gateway.message(
                message,
                match to {
                    To::Everyone => None,
                    To::Tag => Some(TAG),
                },
            ),
            Dialect::Plain => Request::post(match to {
                To::Everyone => "/publish/all",
                To::Tag => "/publish/tag",
            })
            .body(message),
        };
        request.into_bytes()
    }
}

impl Instance {
    /// Of a gateway: what to ask for to open one socket.
    pub(crate) fn reserve(&self, client: &mut Client, tag: Option<&str>) -> Result<String> {
        let request = match tag {
            Some(tag) => self
                .of_gateway("POST", "sockets")
                .json(&json!({"tags": [tag]})),
            None => self.of_gateway("GET", "websocket_uri"),
        };
        let uri = text(&client.ask(request)?, "/uri")?;
        let (_, target) = uri
            .split_once("://")
            .and_then(|(_, rest)| rest.split_once('/'))
            .with_context(|| format!("{uri} is no address of a socket"))?;
        Ok(format!("/{target}"))
    }

    /// Of a gateway: the request that publishes to a tag, or to everyone.
    pub(crate) fn message(&self, message: &str, tag: Option<&str>) -> Request {
        let receivers = match tag {
            Some(tag) => json!({"sockets": null, "tags": [tag]}),
            None => json!({"sockets": ["*"], "tags": null}),
        };
        self.of_gateway("POST", "messages")
            .json(&json!({"data": message, "receivers": receivers}))
    }

    /// Of a gateway: a request for one of its resources, with the token that may do everything.
    pub(crate) fn of_gateway(&self, method: &str, resource: &str) -> Request {
        Request::new(method, &format!("/v1/gateways/{}/{resource}", self.id))
            .header("Authorization", &format!("Bearer {}", self.token))
    }
}

/// A gateway that tells nothing to anybody without the token.
pub(crate) fn pilvi(world: &World) -> Result<(Pilvi, Instance)> {
    let cloud = Pilvi::start(world)?;
    let gateway = cloud.create("mws", "bench")?;
    let configure = gateway.of_gateway("PUT", "configuration");
    Client::connect(cloud.server.address)?
        .ask(configure.json(&json!({"accessControl": "custom"})))
        .context("the gateway cannot be set to `custom`")?;
    Ok((cloud, gateway))
}

/// This very program, as a server.
fn bare(world: &World, writing: &str) -> Result<Server> {
    let program = std::env::current_exe().context("our own program cannot be found")?;
    world.start("bare", &Ready::Answers("/"), |address: SocketAddr| {
        let mut command = Command::new(program);
        command
            .args(["bare", "--writing", writing, "--listen"])
            .arg(address.to_string());
        command
    })
}

fn bun(world: &World, security: Option<&Security>) -> Result<Server> {
    let (program, scripts) = (install::bun()?, install::node_packages()?);
    world.start("bun", &Ready::Answers("/"), |address| {
        let mut command = Command::new(program);
        command
            .arg(scripts.join("bun.js"))
            .arg(address.port().to_string())
            .args(security.into_iter().flat_map(Security::arguments));
        command
    })
}

fn fastwebsockets(world: &World) -> Result<Server> {
    let program = install::fastwebsockets()?;
    world.start("fastwebsockets", &Ready::Answers("/"), |address| {
        let mut command = Command::new(program);
        command.arg(address.to_string());
        command
    })
}

fn ws(world: &World, security: Option<&Security>) -> Result<Server> {
    let scripts = install::node_packages()?;
    world.start("ws", &Ready::Answers("/"), |address| {
        let mut command = Command::new("node");
        command
            .arg(scripts.join("ws.cjs"))
            .arg(address.port().to_string())
            .args(security.into_iter().flat_map(Security::arguments));
        command
    })
}

fn nchan(world: &World, security: Option<&Security>) -> Result<Server> {
    let (program, module) = install::nchan()?;
    let folder = world.empty_folder("nginx")?;
    let template = fs::read_to_string(install::peer_source().join("nginx.conf"))?;
    let file = folder.join("nginx.conf");
    let files = machine::raise_file_limit()?.to_string();
    let secure = security.map_or_else(String::new, |security| {
        let Certificate { certificate, key } = &security.certificate;
        format!(
            "listen {} ssl backlog=4096; ssl_certificate {}; ssl_certificate_key {};",
            security.address,
            certificate.display(),
            key.display()
        )
    });
    world.start("nchan", &Ready::Answers("/health"), |address| {
        let text = template
            .replace("NCHAN_MODULE", &module.display().to_string())
            .replace("FOLDER", &folder.display().to_string())
            .replace("FILES", &files)
            .replace("SECURE", &secure)
            .replace("ADDRESS", &address.to_string());
        // If it cannot be written, nginx says so.
        let _ = fs::write(&file, text);
        let mut command = Command::new(program);
        command.arg("-c").arg(&file).arg("-p").arg(&folder);
        command
    })
}
