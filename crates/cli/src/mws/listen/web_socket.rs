//! A WebSocket.

use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream, unfold};
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::lines::Lines;
use super::{Address, Connection, Gateway, Heard, lost};
use crate::client::AnyStream;
use crate::failure::Result;

/// The server pings every 45 s; a connection that is silent for longer than two of them is dead.
const SILENCE_MAX: Duration = Duration::from_secs(100);
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// Messages are at most a mebibyte; some room for other servers.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// What a close without a code counts as (RFC 6455 §7.1.5).
const NO_CODE: u16 = 1005;

type Socket = WebSocketStream<AnyStream>;
/// The half that speaks.
pub(super) type Outgoing = SplitSink<Socket, Message>;

pub(super) async fn open(gateway: &Gateway, address: &Address) -> Result<Connection> {
    let stream = gateway.client.stream(&address.base).await?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let handshake = tokio_tungstenite::client_async_with_config(&address.uri, stream, Some(config));
    let (socket, _) = tokio::time::timeout(HANDSHAKE_WITHIN, handshake)
        .await
        .map_err(|_| lost("the server did not open the socket in time".into()))?
        .map_err(|error| lost(format!("the socket could not be opened: {error}")))?;
    let (outgoing, incoming) = socket.split();
    Ok(Connection {
        heard: Box::pin(unfold(incoming, async |mut incoming| {
            Some((next(&mut incoming).await, incoming))
        })),
        outgoing: Some(outgoing),
    })
}

/// Pings are answered by reading on.
async fn next(incoming: &mut SplitStream<Socket>) -> Heard {
    loop {
        match tokio::time::timeout(SILENCE_MAX, incoming.next()).await {
            Err(_) => {
                return Heard::Broken(format!("nothing came for {} s", SILENCE_MAX.as_secs()));
            }
            Ok(None) => return Heard::Broken("the connection ended".into()),
            Ok(Some(Err(error))) => return Heard::Broken(broken(&error)),
            Ok(Some(Ok(Message::Text(text)))) => {
                let text = text.as_str().to_owned();
                return Heard::Text { text, id: None };
            }
            Ok(Some(Ok(Message::Binary(bytes)))) => return Heard::Binary { bytes, id: None },
            Ok(Some(Ok(Message::Close(frame)))) => {
                return match frame {
                    Some(frame) => Heard::Closed(frame.code.into(), frame.reason.as_str().into()),
                    None => Heard::Closed(NO_CODE, String::new()),
                };
            }
            Ok(Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)))) => {}
        }
    }
}

fn broken(error: &Error) -> String {
    format!("the connection broke: {error}")
}

/// Sends line after line, until there are no more. Who is not ready for one holds up the next, as the app behind a
/// gateway does by answering slowly.
pub(super) async fn say(outgoing: Option<&mut Outgoing>, lines: &mut Lines) -> Result<()> {
    let Some(outgoing) = outgoing else {
        return Ok(());
    };
    while let Some(line) = lines.next().await {
        if outgoing.send(Message::text(line?)).await.is_err() {
            // Reading tells why.
            break;
        }
    }
    Ok(())
}

/// Says goodbye, and whether that could be said.
pub(super) async fn say_goodbye(outgoing: &mut Outgoing) -> bool {
    let frame = CloseFrame {
        code: CloseCode::Normal,
        reason: "".into(),
    };
    outgoing.send(Message::Close(Some(frame))).await.is_ok()
}
