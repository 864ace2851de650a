//! `pilvi config`: the developer's own settings. They talk to no server.
//!
//! The server's verbs under the same noun (`check`, `default`) live in the binary, which joins both.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use crate::connection::Connection;
use crate::contexts::{Context, Contexts};
use crate::failure::{Code, Failure, Outcome, Result};
use crate::screen::Screen;
use crate::session::Place;
use crate::table::{Table, elastic, whole};
use crate::url::Base;

/// The name of a context that nobody named.
const DEFAULT_NAME: &str = "default";

#[derive(Args, Clone, Debug)]
pub struct Config {
    #[command(flatten)]
    pub connection: Connection,
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Clone, Debug, Subcommand)]
pub enum Verb {
    /// List the contexts: the servers that are remembered
    List,
    /// Print a setting of a context
    Get {
        /// Which setting
        #[arg(value_enum)]
        key: Key,
    },
    /// Change a setting of a context
    Set {
        /// Which setting
        #[arg(value_enum)]
        key: Key,
        /// What it is from now on
        value: String,
    },
    /// Forget a setting of a context
    Unset {
        /// Which setting
        #[arg(value_enum)]
        key: Key,
    },
    /// Mean this context from now on
    Use {
        /// Its name
        name: String,
    },
    /// Forget a context; a token that `login` had made is better revoked with `logout` first
    Remove {
        /// Its name
        name: String,
    },
    /// Print which file the settings are in
    Path,
}

/// A setting of a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Key {
    /// The server's address, such as `https://example.org`
    Url,
    /// The cloud that is meant there
    Account,
    /// The file with a certificate authority to trust
    Ca,
    /// The access token, which only `login` sets
    Token,
}

impl Key {
    fn as_str(self) -> &'static str {
        match self {
            Self::Url => "url",
            Self::Account => "account",
            Self::Ca => "ca",
            Self::Token => "token",
        }
    }

    fn of(self, context: &Context) -> Option<String> {
        match self {
            Self::Url => context.url.clone(),
            Self::Account => context.account.clone(),
            Self::Ca => context.ca.as_ref().map(|ca| ca.display().to_string()),
            Self::Token => context
                .token
                .as_ref()
                .map(|token| token.expose().to_owned()),
        }
    }
}

impl Config {
    pub(crate) fn carry_out(&self, screen: &mut Screen<'_>, place: &Place) -> Outcome {
        let file = place.settings_file();
        if matches!(self.verb, Verb::Path) {
            // Also where the file is broken: this is how it is found.
            return print_path(screen, place);
        }
        let mut contexts = Contexts::read(file.as_deref())?;
        match &self.verb {
            Verb::List => list(screen, &contexts),
            Verb::Get { key } => {
                let name = self.existing(place, &contexts)?;
                get(screen, &contexts, &name, *key)
            }
            Verb::Set { key, value } => {
                let name = self.named(place, &contexts).unwrap_or(DEFAULT_NAME.into());
                set(screen, place, &mut contexts, &name, *key, value)
            }
            Verb::Unset { key } => {
                let name = self.existing(place, &contexts)?;
                unset(screen, &mut contexts, &name, *key)
            }
            Verb::Use { name } => choose(screen, &mut contexts, name),
            Verb::Remove { name } => remove(screen, &mut contexts, name),
            Verb::Path => Ok(0),
        }
    }

    fn named(&self, place: &Place, contexts: &Contexts) -> Option<String> {
        let named = self.connection.typed_context();
        let named = named.or(place.environment.context.as_deref());
        named.or(contexts.current()).map(str::to_owned)
    }

    fn existing(&self, place: &Place, contexts: &Contexts) -> Result<String> {
        let Some(name) = self.named(place, contexts) else {
            return Err(Failure::new(
                Code::NotFound,
                "no context is chosen",
                "sign in with `pilvi login`, or name one with --context",
            ));
        };
        contexts
            .find(&name)
            .map(|_| name.clone())
            .ok_or_else(|| no_such_context(&name))
    }
}

fn print_path(screen: &mut Screen<'_>, place: &Place) -> Outcome {
    let Some(file) = place.settings_file() else {
        return Err(Failure::failed(
            "there is no such file, because the home folder is not known",
            "set HOME",
        ));
    };
    match screen.wants_json() {
        true => screen.json(&json!({ "path": file.display().to_string() }))?,
        false => screen.line(&file.display().to_string())?,
    }
    Ok(0)
}

fn list(screen: &mut Screen<'_>, contexts: &Contexts) -> Outcome {
    let names = contexts.names();
    let all = names
        .iter()
        .filter_map(|name| Some((name, contexts.find(name)?)));
    let is_current = |name: &str| contexts.current() == Some(name);
    if screen.wants_json() {
        // Whoever wants the token asks for it with `get`.
        let all = all.map(|(name, context)| {
            json!({
                "name": name, "current": is_current(name), "url": context.url, "account": context.account,
                "ca": context.ca, "token": context.token.is_some(),
            })
        });
        screen.json(&json!({ "results": all.collect::<Vec<_>>() }))?;
        return Ok(0);
    }
    if names.is_empty() {
        screen.note("No server is remembered yet. Sign in to one with: pilvi login --url URL")?;
        return Ok(0);
    }
    let columns = ["CONTEXT", "CURRENT", "SIGNED IN"].map(whole);
    let [name, current, signed_in] = columns;
    let columns = [
        name,
        current,
        signed_in,
        elastic("URL"),
        elastic("CLOUD"),
        elastic("CA"),
    ];
    let mut table = Table::new(&columns);
    let mark = |yes: bool| if yes { "yes".to_owned() } else { String::new() };
    for (name, context) in all {
        table.row([
            name.clone(),
            mark(is_current(name)),
            mark(context.token.is_some()),
            Key::Url.of(&context).unwrap_or_default(),
            Key::Account.of(&context).unwrap_or_default(),
            Key::Ca.of(&context).unwrap_or_default(),
        ]);
    }
    screen.table(&table)?;
    Ok(0)
}

fn get(screen: &mut Screen<'_>, contexts: &Contexts, name: &str, key: Key) -> Outcome {
    let context = contexts.find(name).unwrap_or_default();
    let value = key.of(&context).ok_or_else(|| {
        Failure::new(
            Code::NotFound,
            format!("the context {name} has no {}", key.as_str()),
            match key {
                Key::Token => "sign in with `pilvi login`".to_owned(),
                _ => format!("set it with `pilvi config set {} VALUE`", key.as_str()),
            },
        )
    })?;
    match screen.wants_json() {
        true => screen.json(&json!({ key.as_str(): value }))?,
        false => screen.line(&value)?,
    }
    Ok(0)
}

fn set(
    screen: &mut Screen<'_>,
    place: &Place,
    contexts: &mut Contexts,
    name: &str,
    key: Key,
    value: &str,
) -> Outcome {
    match key {
        Key::Token => {
            return Err(Failure::usage(
                "a token is not given on a command line, where others can read it",
                "sign in with `pilvi login --with-token`, which reads it from standard input",
            ));
        }
        Key::Url => check_url(value)?,
        Key::Ca => crate::trust::config(Some(&place.folder.join(value))).map(drop)?,
        Key::Account => {}
    }
    let mut also = "";
    contexts.change(|contexts| {
        let mut context = contexts.find(name).unwrap_or_default();
        match key {
            Key::Url => {
                let old = context.url.replace(value.to_owned());
                if context.token.is_some() && old.is_some_and(|old| old != value) {
                    // Another server gets no token of this one.
                    also = " The token and the cloud of the old server are forgotten.";
                    (context.token, context.token_id, context.account) = (None, None, None);
                }
            }
            Key::Account => context.account = Some(value.to_owned()),
            // It is used from other folders, too.
            Key::Ca => context.ca = Some(place.folder.join(value)),
            Key::Token => {}
        }
        contexts.put(name, &context)?;
        if contexts.current().is_none() {
            contexts.choose(name);
        }
        Ok(())
    })?;
    let key = key.as_str();
    told(
        screen,
        &format!("The {key} of the context {name} is {value} now.{also}"),
    )
}

fn check_url(url: &str) -> Result<()> {
    Base::of_server(url).map(drop).map_err(|why| {
        Failure::usage(
            format!("this address is of no use: {why}"),
            "give one such as https://api.example.org/v1",
        )
    })
}

fn unset(screen: &mut Screen<'_>, contexts: &mut Contexts, name: &str, key: Key) -> Outcome {
    if key == Key::Url {
        let what = "a context without an address would mean another server";
        return Err(Failure::usage(
            what,
            "remove it with `pilvi config remove NAME`",
        ));
    }
    contexts.change(|contexts| {
        let mut context = contexts.find(name).unwrap_or_default();
        match key {
            Key::Account => context.account = None,
            Key::Ca => context.ca = None,
            Key::Token => (context.token, context.token_id) = (None, None),
            Key::Url => {}
        }
        contexts.put(name, &context)
    })?;
    let key = key.as_str();
    told(screen, &format!("The context {name} has no {key} now."))
}

fn choose(screen: &mut Screen<'_>, contexts: &mut Contexts, name: &str) -> Outcome {
    contexts.change(|contexts| {
        contexts.find(name).ok_or_else(|| no_such_context(name))?;
        contexts.choose(name);
        Ok(())
    })?;
    let url = contexts
        .find(name)
        .and_then(|context| context.url)
        .unwrap_or_default();
    told(screen, &format!("From now on {name} ({url}) is meant."))
}

fn remove(screen: &mut Screen<'_>, contexts: &mut Contexts, name: &str) -> Outcome {
    contexts.change(|contexts| match contexts.remove(name) {
        true => Ok(()),
        false => Err(no_such_context(name)),
    })?;
    told(screen, &format!("Forgot the context {name}."))
}

/// There is no server whose answer could be shown.
fn told(screen: &mut Screen<'_>, line: &str) -> Outcome {
    match screen.wants_json() {
        true => screen.json(&json!({}))?,
        false => screen.line(line)?,
    }
    Ok(0)
}

fn no_such_context(name: &str) -> Failure {
    Failure::new(
        Code::NotFound,
        format!("no context is called {name}"),
        "see `pilvi config list` for those that there are",
    )
}
