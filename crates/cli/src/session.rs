//! What every command has at hand: the server, the screen, and the place it was called in.
//!
//! Which server is meant, and as whom, is decided in `connection.rs`.

use std::io::{BufRead, Read};
use std::path::PathBuf;

use clap::Command;
use pilvi_base::Secret;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use serde_json::Value;

use crate::client::Client;
use crate::connection::{Chosen, Connection, Environment, Origin};
use crate::contexts::Contexts;
use crate::failure::{Code, Failure, Outcome, Result};
use crate::screen::{Screen, readable};
use crate::table::{Column, Table};
use crate::url::{Base, segment};

/// No line that a person types is longer.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// Where a command was called.
pub(crate) struct Place {
    pub(crate) folder: PathBuf,
    pub(crate) home: Option<PathBuf>,
    pub(crate) environment: Environment,
    /// Whether a person sits at standard input and can be asked.
    pub(crate) asks: bool,
    pub(crate) input: Box<dyn BufRead + Send>,
    /// The whole command line, for its completions and its reference.
    pub(crate) grammar: fn() -> Command,
}

impl Place {
    /// The file that remembers contexts.
    pub(crate) fn settings_file(&self) -> Option<PathBuf> {
        // A folder that is not absolute is to be ignored, says the specification of these variables.
        let folder = self.environment.settings.clone();
        let folder = folder.filter(|folder| folder.is_absolute());
        let folder = folder.or_else(|| Some(self.home.as_ref()?.join(".config")));
        Some(folder?.join("pilvi/config.toml"))
    }
}

pub(crate) struct Session<'s, 'o> {
    pub(crate) client: Client,
    pub(crate) platform: Base,
    pub(crate) screen: &'s mut Screen<'o>,
    pub(crate) place: Place,
    /// As given; git is told of it, too.
    pub(crate) ca: Option<PathBuf>,
    /// The account that is meant, by id or name.
    pub(crate) account: Option<String>,
    pub(crate) token_from: Origin,
    /// What is remembered, and which of it is in effect.
    pub(crate) contexts: Contexts,
    pub(crate) context: Option<String>,
}

/// What to do where a context is named that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    Refuse,
    /// The command is about to make or to choose one.
    Allow,
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
        unknown: Unknown,
        screen: &'s mut Screen<'o>,
        place: Place,
    ) -> Result<Self> {
        let contexts = Contexts::read(place.settings_file().as_deref())?;
        if let Some(file) = contexts.exposed() {
            let file = file.display();
            screen.note(&format!(
                "warning: others on this machine can read the tokens in {file}; close it with: chmod 600 {file}"
            ))?;
        }
        if unknown == Unknown::Refuse {
            refuse_unknown(connection, &place.environment, &contexts)?;
        }
        let chosen = Chosen::of(connection, &place.environment, &contexts);
        let platform = Base::of_server(&chosen.url).map_err(|why| {
            Failure::usage(
                format!("the address of the server is of no use: {why}"),
                "set --url or QTC_PLATFORM_URL to an address such as http://127.0.0.1:8080/v1",
            )
        })?;
        Ok(Self {
            client: Client::new(chosen.token, chosen.ca.clone()),
            platform,
            screen,
            place,
            ca: chosen.ca,
            account: chosen.account,
            token_from: chosen.token_from,
            contexts,
            context: chosen.context,
        })
    }

    /// The accounts to look at: the one that is meant, or all of the person.
    pub(crate) async fn accounts(&self) -> Result<Vec<Account>> {
        match &self.account {
            Some(named) => Ok(vec![self.find_account(named).await?]),
            None => self.own_accounts().await,
        }
    }

    /// The one account that something new belongs to.
    pub(crate) async fn account(&self) -> Result<Account> {
        let accounts = self.accounts().await?;
        match accounts.as_slice() {
            [account] => Ok(account.clone()),
            [] => Err(Failure::new(
                Code::NotFound,
                "the token's owner has no cloud",
                "make one with `pilvi clouds create NAME`, or ask to be invited to one",
            )),
            several => Err(Failure::usage(
                format!("there are several clouds: {}", in_words(several)),
                "name one with --account ID, or once and for all with `pilvi clouds use ID`",
            )),
        }
    }

    /// The id of the account that is meant, without asking whether there is one where the id was said: an operator may
    /// look after accounts that they are not in.
    pub(crate) async fn account_id(&self) -> Result<String> {
        match &self.account {
            Some(id) if is_uuid(id) => Ok(id.clone()),
            _ => Ok(self.account().await?.id),
        }
    }

    /// An account by its id, or by its name as the person sees it.
    pub(crate) async fn find_account(&self, named: &str) -> Result<Account> {
        let by_id = || async {
            let resource = format!("accounts/{}", segment(named));
            let next = "see `pilvi clouds list` for those that there are";
            let account = self.client.get(&self.platform, &resource).await;
            let account = account.map_err(|failure| failure.on(Code::NotFound, next))?;
            account_of(&account).ok_or_else(|| self.odd_answer())
        };
        if is_uuid(named) {
            return by_id().await;
        }
        let own = match self.own_accounts().await {
            // An account's own token knows its account, and no names.
            Err(failure) if failure.code == Code::Forbidden => return by_id().await,
            own => own?,
        };
        let is_it = |account: &&Account| account.id == named || account.name == named;
        let found: Vec<Account> = own.iter().filter(is_it).cloned().collect();
        match found.as_slice() {
            [account] => Ok(account.clone()),
            [] => Err(Failure::new(
                Code::NotFound,
                format!("you are in no cloud with the name or id {named}"),
                "see `pilvi clouds list` for those that there are",
            )),
            several => Err(Failure::usage(
                format!("several clouds are called {named}: {}", in_words(several)),
                "name it by its id",
            )),
        }
    }

    async fn own_accounts(&self) -> Result<Vec<Account>> {
        let accounts = self
            .client
            .get(&self.platform, "user/accounts")
            .await
            .map_err(|failure| {
                let next =
                    "name the cloud by its id with --account; only a personal access token may list them";
                failure.on(Code::Forbidden, next)
            })?;
        Ok(results(&accounts).iter().filter_map(account_of).collect())
    }

    /// Whether the account that is meant is the one that the context remembers.
    pub(crate) fn is_account_remembered(&self) -> bool {
        let context = self.context.as_deref();
        let remembered = context.and_then(|name| self.contexts.find(name)?.account);
        remembered.is_some() && remembered == self.account
    }

    /// The server answered well, and with something else than agreed.
    pub(crate) fn odd_answer(&self) -> Failure {
        Failure::failed(
            format!(
                "{} answered with something that was not expected",
                self.platform
            ),
            "see whether the server is of another version than this program (`pilvi --version`)",
        )
    }

    /// Where the apps of a datacenter are looked after.
    pub(crate) async fn runtime_of(&self, app: &str) -> Result<Base> {
        let datacenter = datacenter_of(app).unwrap_or_default();
        let service = self.find_service("mar", datacenter).await?;
        service.ok_or_else(|| {
            Failure::new(
                Code::NotFound,
                format!("{} runs no apps where {app} is", self.platform),
                "see `pilvi mar list` for the apps that there are",
            )
        })
    }

    /// The address of a service (`eds`, `mws`, `mar`) in a datacenter, down to its `/v1`, as the server itself says;
    /// none where it has no such service.
    pub(crate) async fn find_service(
        &self,
        service: &str,
        datacenter: &str,
    ) -> Result<Option<Base>> {
        let datacenters = self.client.get(&self.platform, "datacenters").await?;
        let services = results(&datacenters)
            .iter()
            .find(|known| known["id"] == datacenter)
            .map_or(&[][..], |known| array(&known["services"]));
        let known = services.iter().find(|known| known["id"] == service);
        let Some(url) = known.and_then(|known| known["url"].as_str()) else {
            return Ok(None);
        };
        let base = Base::parse(url).map_err(|why| {
            Failure::failed(
                format!(
                    "{} names an address for its service {service} that is of no use: {why}",
                    self.platform
                ),
                "tell the server's operator",
            )
        })?;
        if self.platform.secure && !base.secure {
            return Err(Failure::failed(
                format!(
                    "{} names {base} for its service {service}, and the token would go there in the clear",
                    self.platform
                ),
                "tell the server's operator that this address must be https",
            ));
        }
        Ok(Some(base.below("/v1")))
    }

    /// Tells that something is done: the server's answer, or a line for people.
    pub(crate) fn done(&mut self, answer: &Value, line: &str) -> Outcome {
        match self.screen.wants_json() {
            true => self.screen.json(answer)?,
            // Names in it may be somebody else's.
            false => self.screen.line(&readable(line))?,
        }
        Ok(0)
    }

    /// Shows a list: the server's answer, or a table for people. `empty` is told where there is nothing in it.
    pub(crate) fn show_list<const N: usize>(
        &mut self,
        answer: &Value,
        empty: &str,
        columns: &[Column; N],
        row: impl Fn(&Value) -> [String; N],
    ) -> Outcome {
        if self.screen.wants_json() {
            self.screen.json(answer)?;
        } else if results(answer).is_empty() {
            self.screen.note(empty)?;
        } else {
            let mut table = Table::new(columns);
            results(answer).iter().for_each(|item| table.row(row(item)));
            self.screen.table(&table)?;
        }
        Ok(0)
    }

    /// Makes sure that a removal is meant. Whoever means it can type the name. `loss` completes the sentence
    /// "`name` will be removed …".
    pub(crate) fn confirm_removal(&mut self, name: &str, loss: &str, yes: bool) -> Result<()> {
        if yes {
            return Ok(());
        }
        if !self.place.asks {
            return Err(Failure::usage(
                format!("{name} would be removed {loss}"),
                "add --yes when you mean it",
            ));
        }
        self.screen.note(&format!(
            "{name} will be removed {loss}. Type {name} to go on:"
        ))?;
        if self.read_line()?.trim() == name {
            return Ok(());
        }
        Err(Failure::usage(
            "that is something else, so nothing was removed",
            "call the command again, or add --yes",
        ))
    }

    /// A secret from a person, who does not see it while typing, or else the next line of standard input.
    pub(crate) fn read_password(&mut self, prompt: &str) -> Result<Secret> {
        if !self.place.asks {
            return Ok(Secret::new(self.read_line()?));
        }
        // The prompt shows before `rpassword` falls silent, and whoever types at once would see it.
        let silence = Silence::begin();
        let typed = rpassword::prompt_password(prompt);
        drop(silence);
        typed.map(Secret::new).map_err(|error| {
            Failure::usage(
                format!("the terminal could not be asked: {error}"),
                "write it to standard input instead",
            )
        })
    }

    /// A line from standard input, without its end.
    pub(crate) fn read_line(&mut self) -> Result<String> {
        let mut line = String::new();
        let read = Read::take(&mut self.place.input, LINE_BYTES_MAX).read_line(&mut line);
        read.map_err(|error| {
            Failure::usage(
                format!("standard input could not be read: {error}"),
                "see what is connected to it",
            )
        })?;
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }
}

/// A terminal at standard input that does not show what is typed, until this is dropped.
struct Silence(Option<Termios>);

impl Silence {
    fn begin() -> Self {
        let before = tcgetattr(std::io::stdin()).ok();
        if let Some(before) = &before {
            let mut silent = before.clone();
            silent.local_modes.remove(LocalModes::ECHO);
            // A terminal that refuses is asked all the same.
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &silent);
        }
        Self(before)
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
    }
}

fn refuse_unknown(
    typed: &Connection,
    environment: &Environment,
    contexts: &Contexts,
) -> Result<()> {
    let named = typed.typed_context();
    let named = named.or(environment.context.as_deref());
    let Some(name) = named.or(contexts.current()) else {
        return Ok(());
    };
    if contexts.find(name).is_some() {
        return Ok(());
    }
    let names = contexts.names();
    let known = match names.as_slice() {
        [] => "there are none yet".to_owned(),
        names => format!("there are {}", names.join(", ")),
    };
    Err(Failure::usage(
        format!("no context is called {name}; {known}"),
        "make it with `pilvi login --context NAME`, or choose another with `pilvi config use NAME`",
    ))
}

fn in_words(accounts: &[Account]) -> String {
    let names = accounts
        .iter()
        .map(|account| format!("{} ({})", account.id, account.name));
    names.collect::<Vec<_>>().join(", ")
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

/// `46738209-a745-4841-8eeb-1ca0672aa6b8`.
fn is_uuid(text: &str) -> bool {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_told_from_a_name() {
        assert!(is_uuid("46738209-a745-4841-8eeb-1ca0672aa6b8"));
        for name in [
            "My Cloud",
            "46738209",
            "46738209-a745-4841-8eeb-1ca0672aa6bü",
            "",
        ] {
            assert!(!is_uuid(name), "{name}");
        }
    }
}
