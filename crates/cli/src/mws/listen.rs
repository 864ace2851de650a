//! `pilvi mws listen`: a client of a gateway, over a WebSocket or an event stream.
//!
//! A gateway gives an address that opens one socket. When the connection ends, another address is asked for, until
//! somebody closes the socket on purpose or presses Ctrl-C.

mod event_stream;
mod lines;
mod web_socket;

use std::pin::{Pin, pin};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use clap::Args;
use futures_util::{Stream, StreamExt};
use serde_json::json;
use tokio::time::Instant;

use super::target::Gateway;
use crate::failure::{Code, Failure, Outcome, Result};
use crate::screen::readable;
use crate::service::{Patience, interrupted, pause_or_stop};
use crate::session::{Session, array, text};
use crate::url::Base;
use lines::Lines;
use web_socket::Outgoing;

/// How long the server's part of a goodbye is waited for.
const GOODBYE_WITHIN: Duration = Duration::from_secs(2);
/// A connection that lasts longer was not turned away.
const STEADY: Duration = Duration::from_secs(10);
/// What a server says when somebody closes a socket on purpose.
const NORMAL: u16 = 1000;
/// What it says to those whom the gateway's app does not let in, and to those who may no longer be there.
const POLICY: u16 = 1008;

#[derive(Args, Clone, Debug)]
pub(super) struct Listen {
    /// Give the socket this tag; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// End after so many messages
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End when the connection does, rather than connect anew
    #[arg(long)]
    once: bool,
    /// Listen over an event stream (SSE), as where a network lets no WebSocket through
    #[arg(long)]
    sse: bool,
    /// Send each line of standard input over the socket, to the gateway's app
    #[arg(long, conflicts_with = "sse")]
    send: bool,
}

/// An open socket.
struct Connection {
    heard: Pin<Box<dyn Stream<Item = Heard>>>,
    /// None where nothing can be said.
    outgoing: Option<Outgoing>,
}

/// What comes over a socket. The last is `Closed` or `Broken`.
enum Heard {
    Text {
        text: String,
        /// The message's id, where it was told.
        id: Option<String>,
    },
    Binary {
        bytes: Bytes,
        id: Option<String>,
    },
    /// The server let go, with a code and its reason.
    Closed(u16, String),
    Broken(String),
}

/// Why a connection is over, where nothing failed.
enum End {
    /// Somebody pressed Ctrl-C, or enough was heard.
    Stopped,
    /// The server let go, and another connection may be opened.
    Lost(String),
}

impl Listen {
    pub(super) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        gateway: &Gateway,
    ) -> Outcome {
        if gateway.anonymous && !self.tags.is_empty() {
            return Err(Failure::usage(
                "only whoever has the security token can choose tags",
                "leave out --anonymous or --tag",
            ));
        }
        let mut lines = match self.send {
            true => {
                refuse_without_app(gateway).await?;
                Lines::of(session)?
            }
            false => Lines::none(),
        };
        let mut stop = Box::pin(interrupted());
        let mut left = self.count.unwrap_or(u64::MAX);
        let mut patience = Patience::new();
        let mut was_connected = false;
        loop {
            let connected = tokio::select! {
                connected = self.connect(gateway) => connected,
                stopped = &mut stop => return stopped.map(|()| 0),
            };
            let failure = match connected {
                Ok((connection, id)) => {
                    was_connected = true;
                    let (before, since) = (left, Instant::now());
                    session.screen.note(&listening(id.as_deref(), &self.tags))?;
                    match hear(session, connection, &mut lines, &mut left, &mut stop).await? {
                        End::Stopped => return Ok(0),
                        End::Lost(why) => {
                            // Who is turned away at once, again and again, comes back less and less often.
                            if left < before || since.elapsed() > STEADY {
                                patience = Patience::new();
                            }
                            lost(why)
                        }
                    }
                }
                Err(failure) => failure,
            };
            // What never worked will hardly begin to; what did may come back.
            if self.once || !was_connected {
                return Err(failure);
            }
            let pause = patience.after(session, failure)?;
            if !pause_or_stop(pause, &mut stop).await? {
                return Ok(0);
            }
        }
    }

    /// Asks for an address and opens it. The id is that of the socket, where the gateway tells it.
    async fn connect(&self, gateway: &Gateway) -> Result<(Connection, Option<String>)> {
        let answer = match gateway.anonymous {
            true => gateway.get("websocket_uri").await?,
            false => gateway.post("sockets", &json!({"tags": self.tags})).await?,
        };
        let address = Address::read(gateway, text(&answer, "uri"))?;
        let connection = match self.sse {
            true => event_stream::open(gateway, &address).await?,
            false => web_socket::open(gateway, &address).await?,
        };
        Ok((connection, answer["id"].as_str().map(str::to_owned)))
    }
}

/// What clients say to a gateway without an app, nobody reads. Who may not look at the configuration cannot be told.
async fn refuse_without_app(gateway: &Gateway) -> Result<()> {
    if gateway.anonymous {
        return Ok(());
    }
    let config = gateway.get("configuration").await?;
    let mut events = array(&config["events"]["events"]).iter();
    if events.any(|event| event == "message") {
        return Ok(());
    }
    Err(Failure::new(
        Code::Refused,
        format!(
            "{} tells no app what clients send, so nobody would read it",
            gateway.instance.id
        ),
        "name the app with `pilvi mws config set --events URL`, or leave out --send",
    ))
}

fn listening(id: Option<&str>, tags: &[String]) -> String {
    let id = id.map_or_else(String::new, |id| format!(" as {id}"));
    let tags = match tags {
        [] => String::new(),
        tags => format!(", with the tags {}", tags.join(", ")),
    };
    format!("Listening{id}{tags}. Ctrl-C ends it.")
}

/// What opens one socket. Behind the host it is a secret.
struct Address {
    base: Base,
    /// As the gateway gave it: `ws://…` or `wss://…`.
    uri: String,
    /// The path with its query.
    target: String,
}

impl Address {
    fn read(gateway: &Gateway, uri: String) -> Result<Self> {
        let odd = |why: &str| {
            Failure::failed(
                format!(
                    "{} gave an address for a socket that is of no use: {why}",
                    gateway.base
                ),
                "tell the server's operator",
            )
        };
        // The one is the other with another name for its scheme.
        let (scheme, rest) = match uri.split_once("://") {
            Some(("ws", rest)) => ("http", rest),
            Some(("wss", rest)) => ("https", rest),
            _ => return Err(odd("it begins neither with ws:// nor with wss://")),
        };
        let target = rest.find('/').map_or("/", |at| &rest[at..]).to_owned();
        let web = rest.split_once('?').map_or(rest, |(web, _)| web);
        let base = Base::parse(&format!("{scheme}://{web}")).map_err(odd)?;
        if gateway.base.secure && !base.secure {
            return Err(odd("what is sent to it could be read on the way"));
        }
        Ok(Self { base, uri, target })
    }
}

fn lost(why: String) -> Failure {
    Failure::new(
        Code::Unreachable,
        why,
        "call the command again; see with `pilvi mws show` whether the gateway is there",
    )
}

/// Prints messages until the connection ends, and sends what is to be sent meanwhile: neither waits for the other.
async fn hear(
    session: &mut Session<'_, '_>,
    mut connection: Connection,
    lines: &mut Lines,
    left: &mut u64,
    stop: &mut (impl Future<Output = Result<()>> + Unpin),
) -> Result<End> {
    let end = {
        let heard = &mut connection.heard;
        let mut saying = pin!(web_socket::say(connection.outgoing.as_mut(), lines));
        let mut is_saying = true;
        loop {
            let heard = tokio::select! {
                heard = heard.next() => heard,
                said = &mut saying, if is_saying => {
                    said?;
                    is_saying = false;
                    continue;
                }
                stopped = &mut *stop => {
                    stopped?;
                    break None;
                }
            };
            match heard {
                Some(Heard::Text { text, id }) => print(session, &text, None, id)?,
                Some(Heard::Binary { bytes, id }) => {
                    print(session, &BASE64.encode(bytes), Some("base64"), id)?;
                }
                Some(Heard::Closed(code, reason)) => break Some(Ok((code, reason))),
                Some(Heard::Broken(why)) => break Some(Err(why)),
                None => break Some(Err("the connection ended".into())),
            }
            *left -= 1;
            if *left == 0 {
                break None;
            }
        }
    };
    match end {
        None => {
            connection.say_goodbye().await;
            Ok(End::Stopped)
        }
        Some(Ok((code, reason))) => {
            connection.hear_out().await;
            closed(code, &reason)
        }
        Some(Err(why)) => Ok(End::Lost(why)),
    }
}

/// The server closes with 1000 what somebody wants closed, and with 1008 who is not let in; every other code says that
/// it is worth coming back.
fn closed(code: u16, reason: &str) -> Result<End> {
    match (code, reason) {
        (NORMAL, _) => Err(Failure::new(
            Code::Refused,
            "somebody closed this socket",
            "call the command again if that was a mistake",
        )),
        (POLICY, reason) => Err(Failure::new(
            Code::Refused,
            format!(
                "the gateway does not let this socket in: {}",
                if reason.is_empty() {
                    "it gives no reason"
                } else {
                    reason
                }
            ),
            "ask whoever looks after the gateway's app",
        )),
        (code, "") => Ok(End::Lost(format!("the server closed the socket ({code})"))),
        (_, reason) => Ok(End::Lost(format!("the server closed the socket: {reason}"))),
    }
}

impl Connection {
    /// So that the gateway lets go of the socket at once. Whoever does not answer is not waited for.
    async fn say_goodbye(mut self) {
        let goodbye = async {
            // An event stream ends with its connection.
            if let Some(outgoing) = &mut self.outgoing
                && web_socket::say_goodbye(outgoing).await
            {
                self.hear_out().await;
            }
        };
        let _ = tokio::time::timeout(GOODBYE_WITHIN, goodbye).await;
    }

    /// Reading on sends our part of the server's goodbye.
    async fn hear_out(&mut self) {
        let out =
            async { while !matches!(self.heard.next().await, None | Some(Heard::Broken(_))) {} };
        let _ = tokio::time::timeout(GOODBYE_WITHIN, out).await;
    }
}

/// A message a line. Others chose the text, so what steers a terminal does not reach one.
fn print(
    session: &mut Session<'_, '_>,
    data: &str,
    encoding: Option<&str>,
    id: Option<String>,
) -> Result<()> {
    let line = if session.screen.wants_json() {
        let mut line = json!({"data": data});
        if let Some(encoding) = encoding {
            line["encoding"] = encoding.into();
        }
        if let Some(id) = id {
            line["id"] = id.into();
        }
        line.to_string()
    } else {
        let text = match encoding {
            Some(encoding) => format!("{encoding}:{data}"),
            None => data.to_owned(),
        };
        match session.screen.is_terminal() {
            true => readable(&text),
            false => text,
        }
    };
    Ok(session.screen.raw(&(line + "\n"))?)
}
