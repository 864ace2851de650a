//! `pilvi mws listen`: a WebSocket client.
//!
//! A gateway gives an address that opens one socket. When the connection ends, another address is asked for, until
//! somebody closes the socket on purpose or presses Ctrl-C.

use std::time::Duration;

use clap::Args;
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::target::Gateway;
use crate::client::AnyStream;
use crate::failure::{Code, Failure, Outcome, Result};
use crate::screen::readable;
use crate::service::{Patience, interrupted, pause_or_stop};
use crate::session::{Session, text};
use crate::url::Base;

/// The server pings every 45 s; a connection that is silent for longer than two of them is dead.
const SILENCE_MAX: Duration = Duration::from_secs(100);
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// How long the server's part of a goodbye is waited for.
const GOODBYE_WITHIN: Duration = Duration::from_secs(2);
/// Messages are at most a mebibyte; some room for other servers.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

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
}

type Socket = WebSocketStream<AnyStream>;

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
                Ok((socket, id)) => {
                    was_connected = true;
                    patience = Patience::new();
                    session.screen.note(&listening(id.as_deref(), &self.tags))?;
                    match hear(session, socket, &mut left, &mut stop).await? {
                        End::Stopped => return Ok(0),
                        End::Lost(why) => lost(why),
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
    async fn connect(&self, gateway: &Gateway) -> Result<(Socket, Option<String>)> {
        let answer = match gateway.anonymous {
            true => gateway.get("websocket_uri").await?,
            false => gateway.post("sockets", &json!({"tags": self.tags})).await?,
        };
        let socket = open(gateway, &text(&answer, "uri")).await?;
        Ok((socket, answer["id"].as_str().map(str::to_owned)))
    }
}

fn listening(id: Option<&str>, tags: &[String]) -> String {
    let id = id.map_or_else(String::new, |id| format!(" as {id}"));
    let tags = match tags {
        [] => String::new(),
        tags => format!(", with the tags {}", tags.join(", ")),
    };
    format!("Listening{id}{tags}. Ctrl-C ends it.")
}

async fn open(gateway: &Gateway, uri: &str) -> Result<Socket> {
    let odd = |why: &str| {
        Failure::failed(
            format!(
                "{} gave an address for a socket that is of no use: {why}",
                gateway.base
            ),
            "tell the server's operator",
        )
    };
    // The one is the other with another name for its scheme. What follows the host is a secret.
    let web = match uri.split_once("://") {
        Some(("ws", rest)) => format!("http://{rest}"),
        Some(("wss", rest)) => format!("https://{rest}"),
        _ => return Err(odd("it begins neither with ws:// nor with wss://")),
    };
    let web = web.split_once('?').map_or(&*web, |(web, _)| web);
    let base = Base::parse(web).map_err(odd)?;
    if gateway.base.secure && !base.secure {
        return Err(odd("what is sent to it could be read on the way"));
    }
    let stream = gateway.client.stream(&base).await?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let handshake = tokio_tungstenite::client_async_with_config(uri, stream, Some(config));
    let (socket, _) = tokio::time::timeout(HANDSHAKE_WITHIN, handshake)
        .await
        .map_err(|_| lost("the server did not open the socket in time".into()))?
        .map_err(|error| lost(format!("the socket could not be opened: {error}")))?;
    Ok(socket)
}

fn lost(why: String) -> Failure {
    Failure::new(
        Code::Unreachable,
        why,
        "call the command again; see with `pilvi mws show` whether the gateway is there",
    )
}

/// Prints messages until the connection ends.
async fn hear(
    session: &mut Session<'_, '_>,
    mut socket: Socket,
    left: &mut u64,
    stop: &mut (impl Future<Output = Result<()>> + Unpin),
) -> Result<End> {
    loop {
        let next = tokio::select! {
            next = tokio::time::timeout(SILENCE_MAX, socket.next()) => next,
            stopped = &mut *stop => {
                stopped?;
                say_goodbye(socket).await;
                return Ok(End::Stopped);
            }
        };
        let message = match next {
            Err(_) => {
                let why = format!("nothing came for {} s", SILENCE_MAX.as_secs());
                return Ok(End::Lost(why));
            }
            Ok(None) => return Ok(End::Lost("the connection ended".into())),
            Ok(Some(Err(error))) => return Ok(End::Lost(broken(&error))),
            Ok(Some(Ok(message))) => message,
        };
        match message {
            Message::Text(text) => print(session, &text)?,
            // No published gateway sends any; what it is can at least be seen.
            Message::Binary(bytes) => print(session, &String::from_utf8_lossy(&bytes))?,
            Message::Close(frame) => {
                // Reading on sends our part of the goodbye.
                while let Ok(Some(Ok(_))) =
                    tokio::time::timeout(GOODBYE_WITHIN, socket.next()).await
                {}
                return closed(frame);
            }
            // Pings are answered by reading on.
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
        }
        *left -= 1;
        if *left == 0 {
            say_goodbye(socket).await;
            return Ok(End::Stopped);
        }
    }
}

fn broken(error: &Error) -> String {
    format!("the connection broke: {error}")
}

/// The server closes with 1000 what somebody wants closed; every other code says that it is worth coming back.
fn closed(frame: Option<CloseFrame>) -> Result<End> {
    match frame {
        Some(frame) if frame.code == CloseCode::Normal => Err(Failure::new(
            Code::Refused,
            "somebody closed this socket",
            "call the command again if that was a mistake",
        )),
        Some(frame) if frame.reason.is_empty() => {
            let code = u16::from(frame.code);
            Ok(End::Lost(format!("the server closed the socket ({code})")))
        }
        Some(frame) => Ok(End::Lost(format!(
            "the server closed the socket: {}",
            frame.reason
        ))),
        None => Ok(End::Lost("the server closed the socket".into())),
    }
}

/// So that the gateway lets go of the socket at once. Whoever does not answer is not waited for.
async fn say_goodbye(mut socket: Socket) {
    let frame = CloseFrame {
        code: CloseCode::Normal,
        reason: "".into(),
    };
    let goodbye = async {
        if socket.send(Message::Close(Some(frame))).await.is_ok() {
            while let Some(Ok(_)) = socket.next().await {}
        }
    };
    let _ = tokio::time::timeout(GOODBYE_WITHIN, goodbye).await;
}

/// A message a line. Others chose the text, so what steers a terminal does not reach one.
fn print(session: &mut Session<'_, '_>, text: &str) -> Result<()> {
    let line = if session.screen.wants_json() {
        json!({"data": text}).to_string()
    } else if session.screen.is_terminal() {
        readable(text)
    } else {
        text.to_owned()
    };
    Ok(session.screen.raw(&(line + "\n"))?)
}
