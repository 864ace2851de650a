//! Which server is meant, and as whom: what the command line, the environment and the settings say, and which of them
//! holds.

use std::path::PathBuf;

use clap::Args;
use pilvi_base::Secret;

use crate::contexts::{Context, Contexts};
use crate::url::Base;

/// Where `pilvi serve` listens when nothing else was said.
const DEFAULT_URL: &str = "http://127.0.0.1:8080/v1";
/// Which server, and as whom.
#[derive(Args, Clone, Debug, Default)]
pub struct Connection {
    /// Talk to this server, such as `https://example.org` [env: QTC_PLATFORM_URL] [default: http://127.0.0.1:8080]
    #[arg(long, global = true, value_name = "URL", help_heading = HEADING)]
    url: Option<String>,
    /// Use this context of the settings, whatever the environment says [env: PILVI_CONTEXT] [default: the current one]
    #[arg(long, global = true, value_name = "NAME", help_heading = HEADING)]
    context: Option<String>,
    /// Call with this token. Prefer the environment: others can read a command line [env: PILVI_TOKEN]
    #[arg(long, global = true, value_name = "TOKEN", value_parser = secret, help_heading = HEADING)]
    token: Option<Secret>,
    /// The cloud that is meant, by its id or its name [env: PILVI_ACCOUNT] [default: your only one]
    #[arg(long, visible_alias = "cloud", global = true, value_name = "CLOUD", help_heading = HEADING)]
    account: Option<String>,
    /// Trust the certificate authority in this file as well; `pilvi ca` prints that of a server [env: PILVI_CA]
    #[arg(long, global = true, value_name = "FILE", help_heading = HEADING)]
    ca: Option<PathBuf>,
    /// Print the server's own answer as JSON
    #[arg(long, global = true, help_heading = HEADING)]
    pub(crate) json: bool,
}

/// Stands above these options in every help.
pub(crate) const HEADING: &str = "Connection and output";

impl Connection {
    /// Whether results are to be JSON.
    pub fn wants_json(&self) -> bool {
        self.json
    }

    /// The token, only where the command line itself names one.
    pub(crate) fn typed_token(&self) -> Option<&Secret> {
        self.token.as_ref()
    }

    pub(crate) fn typed_account(&self) -> Option<&str> {
        self.account.as_deref()
    }

    pub(crate) fn typed_context(&self) -> Option<&str> {
        self.context.as_deref()
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "the command line wants a function that may refuse"
)]
fn secret(text: &str) -> std::result::Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text.trim()))
}

/// What the environment says. A variable that is empty is one that is not set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    pub(crate) url: Option<String>,
    pub(crate) token: Option<Secret>,
    pub(crate) account: Option<String>,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) context: Option<String>,
    /// The folder in which programs keep their settings.
    pub(crate) settings: Option<PathBuf>,
    /// Whether a browser would find a screen.
    pub(crate) has_windows: bool,
}

impl Environment {
    pub(crate) fn of_this_process() -> Self {
        Self {
            url: variable("QTC_PLATFORM_URL"),
            token: variable("PILVI_TOKEN").map(|token| Secret::new(token.trim())),
            account: variable("PILVI_ACCOUNT"),
            ca: variable("PILVI_CA").map(PathBuf::from),
            context: variable("PILVI_CONTEXT"),
            settings: variable("XDG_CONFIG_HOME").map(PathBuf::from),
            has_windows: cfg!(target_os = "macos")
                || variable("WAYLAND_DISPLAY").is_some()
                || variable("DISPLAY").is_some(),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a door reads the environment; the rest of the crate takes it as a value"
)]
fn variable(name: &str) -> Option<String> {
    let value = std::env::var_os(name)?;
    let value = value.to_string_lossy().into_owned();
    (!value.is_empty()).then_some(value)
}

/// Where a setting comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    CommandLine,
    Environment,
    Context,
    /// Nobody said anything.
    Default,
}

/// The outcome of what the command line, the environment and the settings say.
///
/// The command line goes ahead of the environment, which goes ahead of the context. A context that is named on the
/// command line goes ahead of the environment, too. The token, the account and the authority of a context are used for
/// its own server only, so another address on the command line or in the environment does not get them.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) url: String,
    pub(crate) token: Option<Secret>,
    pub(crate) token_from: Origin,
    pub(crate) account: Option<String>,
    pub(crate) ca: Option<PathBuf>,
    /// The context in effect.
    pub(crate) context: Option<String>,
}

impl Chosen {
    pub(crate) fn of(typed: &Connection, environment: &Environment, contexts: &Contexts) -> Chosen {
        let named = typed.context.as_deref();
        let name = named
            .or(environment.context.as_deref())
            .or(contexts.current())
            .map(str::to_owned);
        let usual = name.as_deref().and_then(|name| contexts.find(name));
        let usual_url = usual.as_ref().map(url_of);
        let (first, last) = match named {
            Some(_) => (usual_url, None),
            None => (None, usual_url),
        };
        let url = typed
            .url
            .clone()
            .or(first)
            .or_else(|| environment.url.clone())
            .or(last)
            .unwrap_or_else(|| DEFAULT_URL.to_owned());
        let effective = match (name, usual) {
            (Some(name), Some(context)) if is_same(&url_of(&context), &url) => {
                Some((name, context))
            }
            // Somebody who names a context means that one, not another one of the same server.
            _ if named.is_some() => None,
            _ => only_context_of(contexts, &url),
        };
        let (context, values) = effective.map_or_else(
            || (None, Context::default()),
            |(name, context)| (Some(name), context),
        );
        let is_named = named.is_some();
        let token_from_outside = environment.token.clone();
        let (token, token_from) = match (&typed.token, values.token, token_from_outside) {
            (Some(token), _, _) => (Some(token.clone()), Origin::CommandLine),
            (None, Some(token), _) if is_named => (Some(token), Origin::Context),
            (None, _, Some(token)) => (Some(token), Origin::Environment),
            (None, Some(token), None) => (Some(token), Origin::Context),
            (None, None, None) => (None, Origin::Default),
        };
        let account = pick(
            &typed.account,
            is_named,
            values.account,
            &environment.account,
        );
        let ca = pick(&typed.ca, is_named, values.ca, &environment.ca);
        Self {
            url,
            token: token.filter(|token| !token.expose().is_empty()),
            token_from,
            account,
            ca,
            context,
        }
    }
}

fn pick<T: Clone>(
    typed: &Option<T>,
    is_named: bool,
    context: Option<T>,
    environment: &Option<T>,
) -> Option<T> {
    let (typed, environment) = (typed.clone(), environment.clone());
    match is_named {
        true => typed.or(context).or(environment),
        false => typed.or(environment).or(context),
    }
}

fn url_of(context: &Context) -> String {
    context
        .url
        .clone()
        .unwrap_or_else(|| DEFAULT_URL.to_owned())
}

fn is_same(one: &str, other: &str) -> bool {
    match (Base::of_server(one), Base::of_server(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

fn only_context_of(contexts: &Contexts, url: &str) -> Option<(String, Context)> {
    let all = contexts.names().into_iter().filter_map(|name| {
        let context = contexts.find(&name)?;
        is_same(&url_of(&context), url).then_some((name, context))
    });
    let mut all = all.fuse();
    match (all.next(), all.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contexts() -> Contexts {
        let mut contexts = Contexts::default();
        let context = |url: &str, token: &str| Context {
            url: Some(url.into()),
            token: Some(Secret::new(token)),
            account: Some(format!("account of {token}")),
            ..Context::default()
        };
        contexts
            .put("work", &context("https://office/v1", "w"))
            .unwrap();
        contexts
            .put("home", &context("http://home/v1/", "h"))
            .unwrap();
        contexts.choose("work");
        contexts
    }

    fn typed(url: Option<&str>, context: Option<&str>, token: Option<&str>) -> Connection {
        Connection {
            url: url.map(Into::into),
            context: context.map(Into::into),
            token: token.map(Secret::new),
            ..Connection::default()
        }
    }

    fn outside(url: Option<&str>, token: Option<&str>) -> Environment {
        Environment {
            url: url.map(Into::into),
            token: token.map(Secret::new),
            ..Environment::default()
        }
    }

    #[track_caller]
    fn check(
        typed: &Connection,
        environment: &Environment,
        expected: (&str, Option<&str>, Option<&str>),
    ) {
        let chosen = Chosen::of(typed, environment, &contexts());
        let token = chosen.token.as_ref().map(Secret::expose);
        assert_eq!((&*chosen.url, token, chosen.context.as_deref()), expected);
        let account = chosen.context.map(|_| ());
        assert_eq!(
            chosen.account.map(|_| ()),
            account,
            "an account comes with its context"
        );
    }

    #[test]
    fn the_command_line_goes_ahead_of_the_environment_and_that_of_the_context() {
        let nothing = || typed(None, None, None);
        check(
            &nothing(),
            &outside(None, None),
            ("https://office/v1", Some("w"), Some("work")),
        );
        check(
            &nothing(),
            &outside(None, Some("e")),
            ("https://office/v1", Some("e"), Some("work")),
        );
        check(
            &typed(None, None, Some("t")),
            &outside(None, Some("e")),
            ("https://office/v1", Some("t"), Some("work")),
        );
        check(
            &typed(None, Some("home"), None),
            &outside(Some("http://env/v1"), Some("e")),
            ("http://home/v1/", Some("h"), Some("home")),
        );
    }

    #[test]
    fn a_token_goes_to_its_own_server_only() {
        check(
            &typed(Some("http://other/v1"), None, None),
            &outside(None, None),
            ("http://other/v1", None, None),
        );
        check(
            &typed(None, None, None),
            &outside(Some("http://other/v1"), None),
            ("http://other/v1", None, None),
        );
        check(
            &typed(Some("http://home/v1"), Some("work"), None),
            &outside(None, None),
            ("http://home/v1", None, None),
        );
        // The settings know this server under another name.
        check(
            &typed(Some("http://home/v1"), None, None),
            &outside(None, None),
            ("http://home/v1", Some("h"), Some("home")),
        );
    }

    #[test]
    fn an_empty_token_is_none() {
        check(
            &typed(None, None, Some("")),
            &outside(None, Some("e")),
            ("https://office/v1", None, Some("work")),
        );
    }
}
