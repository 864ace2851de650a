//! What every command has at hand: the server, the screen, and the folder it was called in.

use std::path::PathBuf;

use clap::Args;
use pilvi_base::Secret;
use serde_json::Value;

use crate::client::Client;
use crate::failure::{Code, Failure, Result};
use crate::screen::Screen;
use crate::url::{Base, segment};

/// Which server, and as whom.
#[derive(Args, Clone, Debug)]
pub(crate) struct Connection {
    /// Talk to this server; the address ends in /v1
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "QTC_PLATFORM_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8080/v1"
    )]
    url: String,
    /// Call with this token. Prefer the environment: others can read a command line
    #[arg(
        long,
        global = true,
        value_name = "TOKEN",
        env = "PILVI_TOKEN",
        hide_env_values = true,
        value_parser = secret
    )]
    token: Option<Secret>,
    /// Trust the certificate authority in this file as well; `pilvi ca` prints that of a server
    #[arg(long, global = true, value_name = "FILE", env = "PILVI_CA")]
    ca: Option<PathBuf>,
    /// Print the server's own answer as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "the command line wants a function that may refuse"
)]
fn secret(text: &str) -> std::result::Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text.trim()))
}

/// Where a command was called.
pub(crate) struct Place {
    pub(crate) folder: PathBuf,
    pub(crate) home: Option<PathBuf>,
    /// Whether a person sits at standard input and can be asked.
    pub(crate) asks: bool,
}

pub(crate) struct Session<'s, 'o> {
    pub(crate) client: Client,
    pub(crate) platform: Base,
    pub(crate) screen: &'s mut Screen<'o>,
    pub(crate) place: Place,
    /// As given; git is told of it, too.
    pub(crate) ca: Option<PathBuf>,
}

/// An account as far as commands need it.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) id: String,
    pub(crate) name: String,
}

impl<'s, 'o> Session<'s, 'o> {
    pub(crate) fn open(
        connection: &Connection,
        screen: &'s mut Screen<'o>,
        place: Place,
    ) -> Result<Self> {
        let platform = Base::parse(&connection.url).map_err(|why| {
            Failure::usage(
                format!("the address of the server is of no use: {why}"),
                "set --url or QTC_PLATFORM_URL to an address such as http://127.0.0.1:8080/v1",
            )
        })?;
        let token = connection.token.clone();
        Ok(Self {
            client: Client::new(
                token.filter(|token| !token.expose().is_empty()),
                connection.ca.clone(),
            ),
            platform,
            screen,
            place,
            ca: connection.ca.clone(),
        })
    }

    /// The accounts to look at: the one that was named, or all of the person.
    pub(crate) async fn accounts(&self, named: Option<&str>) -> Result<Vec<Account>> {
        if let Some(id) = named {
            let account = self
                .client
                .get(&self.platform, &format!("accounts/{}", segment(id)))
                .await
                .map_err(|failure| {
                    failure.on(
                        Code::NotFound,
                        "see `pilvi mar list` for your accounts' apps",
                    )
                })?;
            return Ok(account_of(&account).into_iter().collect());
        }
        let accounts = self
            .client
            .get(&self.platform, "user/accounts")
            .await
            .map_err(|failure| {
                let next =
                    "name the account with --account; only a personal access token may list them";
                failure.on(Code::Forbidden, next)
            })?;
        Ok(results(&accounts).iter().filter_map(account_of).collect())
    }

    /// The one account that something new belongs to.
    pub(crate) async fn account(&self, named: Option<&str>) -> Result<Account> {
        let accounts = self.accounts(named).await?;
        match accounts.as_slice() {
            [account] => Ok(account.clone()),
            [] => Err(Failure::new(
                Code::NotFound,
                "the token's owner has no account",
                "ask somebody to make one for you: POST /v1/accounts does",
            )),
            several => {
                let names = several
                    .iter()
                    .map(|account| format!("{} ({})", account.id, account.name));
                Err(Failure::usage(
                    format!(
                        "there are several accounts: {}",
                        names.collect::<Vec<_>>().join(", ")
                    ),
                    "name one with --account ID",
                ))
            }
        }
    }

    /// Where the apps of a datacenter are looked after, as the server itself says.
    pub(crate) async fn runtime_of(&self, app: &str) -> Result<Base> {
        let datacenter = datacenter_of(app);
        let datacenters = self.client.get(&self.platform, "datacenters").await?;
        let services = results(&datacenters)
            .iter()
            .find(|known| known["id"].as_str() == datacenter)
            .map_or(&[][..], |known| array(&known["services"]));
        let service = services.iter().find(|service| service["id"] == "mar");
        let url = service.and_then(|service| service["url"].as_str());
        let Some(url) = url else {
            return Err(Failure::new(
                Code::NotFound,
                format!("{} runs no apps where {app} is", self.platform),
                "see `pilvi mar list` for the apps that there are",
            ));
        };
        let base = Base::parse(url).map_err(|why| {
            Failure::failed(
                format!(
                    "{} names an address for its apps that is of no use: {why}",
                    self.platform
                ),
                "tell the server's operator",
            )
        })?;
        if self.platform.secure && !base.secure {
            return Err(Failure::failed(
                format!(
                    "{} names {base} for its apps, and the token would go there in the clear",
                    self.platform
                ),
                "tell the server's operator that this address must be https",
            ));
        }
        Ok(base.below("/v1"))
    }
}

fn account_of(account: &Value) -> Option<Account> {
    Some(Account {
        id: account["id"].as_str()?.to_owned(),
        name: account["name"].as_str().unwrap_or_default().to_owned(),
    })
}

/// `eu-1` of `mar-eu-1-twwto7g0`.
fn datacenter_of(app: &str) -> Option<&str> {
    let (datacenter, _) = app.strip_prefix("mar-")?.rsplit_once('-')?;
    Some(datacenter)
}

/// The results of a list.
pub(crate) fn results(answer: &Value) -> &[Value] {
    array(&answer["results"])
}

pub(crate) fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A field as text; nothing where it is missing or null.
pub(crate) fn text(value: &Value, field: &str) -> String {
    match &value[field] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
