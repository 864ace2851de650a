//! `pilvi login` and `pilvi logout`.
//!
//! Signing in ends with a token in the settings. It is made by the server when somebody approves in a browser
//! (RFC 8628: works from a machine without one, too) or when an address and a password are right, or it is one that
//! the developer has already. A token that was made here is revoked by `logout`.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use pilvi_base::Secret;
use serde_json::{Value, json};

use crate::connection::Connection;
use crate::contexts::{Context, check_name};
use crate::failure::{Code, Failure, Outcome, Result};
use crate::progress::Progress;
use crate::screen::readable;
use crate::session::{Session, text};
use crate::url::{Base, segment};

/// How long to wait between two questions where the server does not say, and how much longer once it says so.
const USUAL_INTERVAL: Duration = Duration::from_secs(5);
/// No server can make anybody wait longer than this.
const LONGEST_INTERVAL: Duration = Duration::from_secs(60);
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

#[derive(Args, Clone, Debug)]
pub struct Login {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Sign in with this e-mail address and its password, which is asked for or read from standard input
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["with_token", "token"])]
    email: Option<String>,
    /// Sign in with a token that you have: it is asked for or read from standard input
    #[arg(long, conflicts_with = "token")]
    with_token: bool,
    /// Only print the address to approve at, and do not open a browser
    #[arg(long)]
    no_browser: bool,
}

/// A token, and its id where this program had it made.
struct Granted {
    token: Secret,
    id: Option<i64>,
}

impl Login {
    pub(crate) async fn carry_out(&self, session: &mut Session<'_, '_>) -> Outcome {
        let name = self.context(session)?;
        if !session.platform.secure && !session.platform.is_this_machine() {
            session.screen.note(&format!(
                "warning: {} is not https, so others on the way can read what is sent",
                session.platform
            ))?;
        }
        let granted = self.grant(session).await?;
        let client = session.client.with_token(Some(granted.token.clone()));
        let user = match client.get(&session.platform, "user").await {
            Ok(user) => Some(user),
            // The token of a cloud or of an instance is nobody's own, and good enough for what it is for.
            Err(failure) if failure.code == Code::Forbidden => None,
            Err(failure) => {
                let next = "see whether it was copied whole, and whether it belongs to this server";
                return Err(failure.on(Code::Denied, next));
            }
        };
        let replaced = self.remember(session, &name, granted)?;
        if let Some(replaced) = replaced {
            revoke_quietly(session, replaced).await;
        }
        self.tell(session, &name, user.as_ref())
    }

    /// The name under which this is remembered: the one that is given, that of the same server, or the server's own.
    fn context(&self, session: &Session<'_, '_>) -> Result<String> {
        let typed = self.connection.typed_context();
        let named = typed.or(session.place.environment.context.as_deref());
        if let Some(name) = named {
            check_name(name)?;
            return Ok(name.to_owned());
        }
        if let Some(name) = &session.context {
            return Ok(name.clone());
        }
        let host = session.platform.authority().replace(['[', ']'], "");
        // Another address on the same host may have taken the name.
        let names = (1..).map(|number| match number {
            1 => host.clone(),
            number => format!("{host}-{number}"),
        });
        let mut free = names.filter(|name| session.contexts.find(name).is_none());
        let name = free.next().unwrap_or_default();
        check_name(&name)?;
        Ok(name)
    }

    async fn grant(&self, session: &mut Session<'_, '_>) -> Result<Granted> {
        if let Some(token) = self.connection.typed_token() {
            let token = token.clone();
            return Ok(Granted { token, id: None });
        }
        if self.with_token {
            let token = ask_secret(session, "Token: ", "token")?;
            let token = Secret::new(token.expose().trim());
            return Ok(Granted { token, id: None });
        }
        match &self.email {
            Some(email) => with_password(session, email).await,
            None => in_browser(session, !self.no_browser).await,
        }
    }

    /// Keeps the token, and gives back the one that it takes the place of.
    fn remember(
        &self,
        session: &mut Session<'_, '_>,
        name: &str,
        granted: Granted,
    ) -> Result<Option<Granted>> {
        let url = session.platform.to_string();
        let account = self.connection.typed_account().map(str::to_owned);
        let ca = session.ca.as_ref().map(|ca| session.place.folder.join(ca));
        let mut replaced = None;
        session.contexts.change(|contexts| {
            let old = contexts.find(name).unwrap_or_default();
            let is_same_server = old.url.as_deref() == Some(&*url);
            let context = Context {
                url: Some(url),
                token: Some(granted.token),
                token_id: granted.id,
                account: account.or(old.account.filter(|_| is_same_server)),
                ca,
            };
            contexts.put(name, &context)?;
            contexts.choose(name);
            replaced = match (is_same_server, old.token, old.token_id) {
                (true, Some(token), id @ Some(_)) => Some(Granted { token, id }),
                _ => None,
            };
            Ok(())
        })?;
        Ok(replaced)
    }

    fn tell(&self, session: &mut Session<'_, '_>, name: &str, user: Option<&Value>) -> Outcome {
        if session.place.environment.token.is_some() {
            session.screen.note(
                "PILVI_TOKEN is set and goes ahead of what was remembered now; unset it to use that",
            )?;
        }
        if session.screen.wants_json() {
            session.screen.json(user.unwrap_or(&json!({})))?;
            return Ok(0);
        }
        let platform = &session.platform;
        let line = match user {
            Some(user) => format!(
                "Signed in to {platform} as {} ({}).",
                readable(&text(user, "name")),
                readable(&text(user, "email"))
            ),
            None => format!("Signed in to {platform} with the token of a cloud or an instance."),
        };
        session.screen.line(&line)?;
        let note = format!("It is remembered as the context {name}, which is the current one now.");
        session.screen.note(&note)?;
        Ok(0)
    }
}

async fn with_password(session: &mut Session<'_, '_>, email: &str) -> Result<Granted> {
    let password = ask_secret(session, "Password: ", "password")?;
    let mut client = session.client.with_token(None);
    client.hide(password.clone());
    let body = json!({"email": email, "password": password.expose(), "client": this_program()});
    let answer = client.post(&session.platform, "user/sign_in", &body).await;
    let answer = answer.map_err(|failure| match failure.code {
        Code::Denied => Failure {
            what: "the address or the password is wrong".into(),
            next: "try again, or sign in with a browser: `pilvi login` without --email".into(),
            ..failure
        },
        Code::NotFound => no_such_way(session),
        _ => failure,
    })?;
    granted(session, &answer)
}

async fn in_browser(session: &mut Session<'_, '_>, opens: bool) -> Result<Granted> {
    let client = session.client.with_token(None);
    let body = json!({ "client": this_program() });
    let answer = client.post(&session.platform, "device_codes", &body).await;
    let answer = answer.map_err(|failure| match failure.code {
        Code::NotFound => no_such_way(session),
        _ => failure,
    })?;
    let [device_code, user_code, plain, complete] = [
        "device_code",
        "user_code",
        "verification_uri",
        "verification_uri_complete",
    ]
    .map(|field| readable(&text(&answer, field)));
    if device_code.is_empty() || plain.is_empty() {
        return Err(session.odd_answer());
    }
    session.screen.note(&format!(
        "To sign in, open this address in a browser on any machine:\n  {plain}\nand enter the code {user_code} there."
    ))?;
    let is_seen = session.place.asks && session.screen.is_watched();
    if opens && is_seen && session.place.environment.has_windows {
        open_browser(if complete.is_empty() {
            &plain
        } else {
            &complete
        });
    }
    let approval = Approval {
        device_code: Secret::new(device_code),
        interval: seconds(&answer["interval"], USUAL_INTERVAL, LONGEST_INTERVAL),
        patience: seconds(&answer["expires_in"], LONGEST_WAIT, LONGEST_WAIT),
    };
    let waiting = Progress::of_waiting(session.screen, "Waiting for the approval");
    let answer = approval.wait_for(session).await?;
    drop(waiting);
    granted(session, &answer)
}

/// What is waited for in a browser.
struct Approval {
    device_code: Secret,
    interval: Duration,
    patience: Duration,
}

impl Approval {
    async fn wait_for(&self, session: &Session<'_, '_>) -> Result<Value> {
        let mut client = session.client.with_token(None);
        client.hide(self.device_code.clone());
        let body = json!({ "device_code": self.device_code.expose() });
        let (begun, mut interval) = (Instant::now(), self.interval);
        while begun.elapsed() < self.patience {
            tokio::time::sleep(interval).await;
            let asked = client.post(&session.platform, "device_codes/token", &body);
            let failure = match asked.await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            interval = interval_after(failure, interval)?;
        }
        Err(too_late())
    }
}

/// How long to wait until the next question, or why there is none.
fn interval_after(failure: Failure, interval: Duration) -> Result<Duration> {
    match &*failure.reason {
        "AuthorizationPending" => Ok(interval),
        "SlowDown" | "TooManyRequests" => Ok(slower(interval)),
        "AccessDenied" => Err(Failure::new(
            Code::Denied,
            "the sign-in was refused in the browser",
            "call `pilvi login` again if that was not meant",
        )),
        "ExpiredToken" => Err(too_late()),
        // The server may be starting anew; the code holds.
        _ if failure.code == Code::Unreachable => Ok(slower(interval)),
        _ => Err(failure),
    }
}

fn too_late() -> Failure {
    Failure::new(
        Code::Denied,
        "nobody approved in time",
        "call `pilvi login` again for a new code",
    )
}

fn slower(interval: Duration) -> Duration {
    (interval + USUAL_INTERVAL).min(LONGEST_INTERVAL)
}

fn seconds(value: &Value, usual: Duration, longest: Duration) -> Duration {
    value
        .as_u64()
        .map_or(usual, Duration::from_secs)
        .min(longest)
}

fn granted(session: &Session<'_, '_>, answer: &Value) -> Result<Granted> {
    let token = answer["access_token"].as_str();
    let token = token.ok_or_else(|| session.odd_answer())?;
    Ok(Granted {
        token: Secret::new(token),
        id: answer["id"].as_i64(),
    })
}

fn ask_secret(session: &mut Session<'_, '_>, prompt: &str, what: &str) -> Result<Secret> {
    let secret = session.read_password(prompt)?;
    match secret.expose().is_empty() {
        false => Ok(secret),
        true => Err(Failure::usage(
            format!("no {what} was given"),
            "call the command again and type it, or write it to standard input",
        )),
    }
}

/// As it is shown among the person's tokens.
fn this_program() -> String {
    let system = rustix::system::uname();
    format!("pilvi on {}", system.nodename().to_string_lossy())
}

/// Whether that worked shows in the browser, and the address was printed.
fn open_browser(address: &str) {
    // It is the server that names the address, and other schemes start other programs.
    if Base::parse(address.split(['?', '#']).next().unwrap_or_default()).is_err() {
        return;
    }
    let opener = if cfg!(target_os = "macos") {
        "open"
    } else {
        "xdg-open"
    };
    let _ = Command::new(opener)
        .arg(address)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
}

fn no_such_way(session: &Session<'_, '_>) -> Failure {
    Failure::new(
        Code::NotFound,
        format!("{} offers no such way to sign in", session.platform),
        "make a token there and give it to `pilvi login --with-token`; see also whether the address ends in /v1",
    )
}

/// A token that is replaced is of no more use. Where it is gone already, all the better.
async fn revoke_quietly(session: &Session<'_, '_>, old: Granted) {
    let _ = revoke(session, old).await;
}

async fn revoke(session: &Session<'_, '_>, old: Granted) -> Result<Value> {
    let id = old.id.unwrap_or_default().to_string();
    let client = session.client.with_token(Some(old.token));
    let resource = format!("authorizations/{}", segment(&id));
    client.delete(&session.platform, &resource).await
}

#[derive(Args, Clone, Debug)]
pub struct Logout {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Only forget the token here, and do not call the server
    #[arg(long)]
    local: bool,
}

impl Logout {
    pub(crate) async fn carry_out(&self, session: &mut Session<'_, '_>) -> Outcome {
        let remembered = session.context.clone().and_then(|name| {
            let context = session.contexts.find(&name)?;
            let token = context.token.clone()?;
            Some((name, context, token))
        });
        let Some((name, context, token)) = remembered else {
            return Err(Failure::new(
                Code::Denied,
                format!("no token is remembered for {}", session.platform),
                "see `pilvi config list` for the servers that you are signed in to",
            ));
        };
        let id = context.token_id;
        let mut line = format!("Signed out of {}.", session.platform);
        if id.is_some() && !self.local {
            let revoked = revoke(session, Granted { token, id }).await;
            match revoked {
                Ok(_) => line += " The token is revoked.",
                Err(failure) if matches!(failure.code, Code::Denied | Code::NotFound) => {
                    line += " The token was revoked already.";
                }
                Err(failure) => {
                    return Err(Failure {
                        what: format!(
                            "the token could not be revoked and is still kept: {}",
                            failure.what
                        ),
                        next: "try again, or forget it here only with --local".into(),
                        ..failure
                    });
                }
            }
        } else {
            line +=
                " The token is forgotten here and still valid; see `pilvi tokens` to remove it.";
        }
        session.contexts.change(|contexts| {
            let mut context = contexts.find(&name).unwrap_or_default();
            (context.token, context.token_id) = (None, None);
            contexts.put(&name, &context)
        })?;
        session.done(&json!({}), &line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: Code, reason: &str) -> Failure {
        Failure {
            reason: reason.into(),
            ..Failure::new(code, "what", "next")
        }
    }

    #[test]
    fn a_busy_or_absent_server_is_asked_less_often_and_not_given_up() {
        let interval = Duration::from_secs(5);
        for (code, reason, expected) in [
            (Code::Refused, "AuthorizationPending", 5),
            (Code::Refused, "SlowDown", 10),
            (Code::Refused, "TooManyRequests", 10),
            // It is starting anew, or has too much to do.
            (Code::Unreachable, "", 10),
            (Code::Unreachable, "Unavailable", 10),
        ] {
            let next = interval_after(failure(code, reason), interval).unwrap();
            assert_eq!(next.as_secs(), expected, "{code:?} {reason}");
        }
        let mut interval = interval;
        for _ in 0..100 {
            interval = interval_after(failure(Code::Unreachable, ""), interval).unwrap();
        }
        assert_eq!(interval, LONGEST_INTERVAL);
    }

    #[test]
    fn what_cannot_become_better_ends_the_wait() {
        let interval = Duration::from_secs(5);
        for (code, reason) in [
            (Code::Refused, "AccessDenied"),
            (Code::Refused, "ExpiredToken"),
            (Code::NotFound, "NotFound"),
            (Code::Failed, "InternalError"),
        ] {
            assert!(
                interval_after(failure(code, reason), interval).is_err(),
                "{reason}"
            );
        }
    }
}
