//! `pilvi serve`, and an account on it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::http::client::{Client, text};
use crate::http::request::Request;
use crate::server::{Ready, Server};
use crate::world::World;

/// A running `pilvi serve` with the operator's token.
pub(crate) struct Pilvi {
    pub(crate) server: Server,
    /// Where it speaks TLS.
    pub(crate) secure: SocketAddr,
    account: String,
    token: String,
}

/// A data backend or a gateway.
pub(crate) struct Instance {
    pub(crate) id: String,
    pub(crate) token: String,
}

impl Pilvi {
    /// Starts on an empty folder: the first start tells the token.
    pub(crate) fn start(world: &World) -> Result<Self> {
        Self::start_with(world, &[])
    }

    /// The same with settings from the environment.
    pub(crate) fn start_with(world: &World, settings: &[(&str, &str)]) -> Result<Self> {
        let data = world.empty_folder("pilvi")?;
        let server = serve_with(world, &data, settings)?;
        let printed = server.printed()?;
        let line = printed
            .lines()
            .next()
            .context("pilvi has printed no line")?;
        let line: Value = serde_json::from_str(line).context("pilvi's line is not JSON")?;
        Ok(Self {
            account: text(&line, "/accountId")?,
            token: text(&line, "/token")?,
            secure: secure_address(&line)?,
            server,
        })
    }

    /// Makes a data backend or a gateway in the operator's account.
    pub(crate) fn create(&self, provider: &str, name: &str) -> Result<Instance> {
        let mut client = Client::connect(self.server.address)?;
        self.create_in(&mut client, &self.account, provider, name)
    }

    /// Makes another account: one alone may have no more than some hundred instances.
    pub(crate) fn create_account(&self, client: &mut Client, name: &str) -> Result<String> {
        let request = self.authorized(Request::post("/v1/accounts"));
        text(&client.ask(request.json(&json!({"name": name})))?, "/id")
    }

    pub(crate) fn create_in(
        &self,
        client: &mut Client,
        account: &str,
        provider: &str,
        name: &str,
    ) -> Result<Instance> {
        let body = json!({"name": name, "serviceProviderId": provider});
        self.create_as(client, account, &body)
    }

    /// Makes a data backend in which only signed-in users may do anything, and see nothing but their own.
    pub(crate) fn create_private(&self, client: &mut Client, name: &str) -> Result<Instance> {
        let config = json!({"openness": "private"});
        let body = json!({"name": name, "serviceProviderId": "eds", "config": config});
        self.create_as(client, &self.account, &body)
    }

    fn create_as(&self, client: &mut Client, account: &str, body: &Value) -> Result<Instance> {
        let path = format!("/v1/accounts/{account}/instances");
        let request = self.authorized(Request::post(&path));
        let id = text(&client.ask(request.json(body))?, "/id")?;
        let path = format!("/v1/instances/{id}/authorizations");
        let tokens = client.ask(self.authorized(Request::get(&path)))?;
        Ok(Instance {
            id,
            token: text(&tokens, "/results/0/access_token")?,
        })
    }

    fn authorized(&self, request: Request) -> Request {
        request.header("Authorization", &format!("Bearer {}", self.token))
    }
}

fn secure_address(line: &Value) -> Result<SocketAddr> {
    let url = text(line, "/https")?;
    let address = url
        .strip_prefix("https://")
        .and_then(|rest| rest.parse().ok());
    address.with_context(|| format!("{url} is no address"))
}

/// `pilvi serve` on this folder.
pub(crate) fn serve(world: &World, data: &Path) -> Result<Server> {
    serve_with(world, data, &[])
}

fn serve_with(world: &World, data: &Path, settings: &[(&str, &str)]) -> Result<Server> {
    let command = |address: SocketAddr| {
        let mut command = Command::new(&world.pilvi);
        command
            .args([
                "serve",
                "--json",
                "--log",
                "warn",
                "--https",
                "127.0.0.1:0",
                "--ssh",
                "127.0.0.1:0",
                "--http",
            ])
            .arg(address.to_string())
            .arg("--data")
            .arg(data)
            // Benchmarks make more instances in a minute than people do.
            .env("PILVI_RATE_TOKEN", "0")
            .env("PILVI_RATE_PERSON", "0")
            .envs(settings.iter().copied());
        command
    };
    let server = world.start("pilvi", &Ready::Answers("/v1/ping"), command)?;
    // It answers a moment before it prints.
    for _ in 0..1000 {
        if server.printed()?.ends_with('\n') {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    Ok(server)
}
