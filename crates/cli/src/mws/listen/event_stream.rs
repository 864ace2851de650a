//! An event stream at the address of a socket.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_util::stream::unfold;
use serde_json::Value;

use super::{Address, Connection, Gateway, Heard};
use crate::failure::Result;
use crate::service::{Event, Events};
use crate::session::text;

/// What a goodbye without a code counts as, as in a WebSocket.
const NO_CODE: u16 = 1005;

pub(super) async fn open(gateway: &Gateway, address: &Address) -> Result<Connection> {
    let body = gateway
        .client
        .events(&address.base, &address.target)
        .await?;
    Ok(Connection {
        heard: Box::pin(unfold(Events::new(body), async |mut events| {
            let heard = events.next().await.map_or_else(Heard::Broken, heard);
            Some((heard, events))
        })),
        outgoing: None,
    })
}

fn heard(event: Event) -> Heard {
    let Event { name, id, data } = event;
    match &*name {
        "close" => {
            let goodbye: Value = serde_json::from_str(&data).unwrap_or_default();
            let code = goodbye["code"].as_u64().map(u16::try_from);
            let code = code.and_then(std::result::Result::ok).unwrap_or(NO_CODE);
            Heard::Closed(code, text(&goodbye, "reason"))
        }
        "binary" => match BASE64.decode(&data) {
            Ok(bytes) => Heard::Binary {
                bytes: bytes.into(),
                id,
            },
            Err(_) => Heard::Broken("the server sent bytes that cannot be read".into()),
        },
        _ => Heard::Text { text: data, id },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, data: &str) -> Heard {
        heard(Event {
            name: name.into(),
            id: Some("7".into()),
            data: data.into(),
        })
    }

    #[test]
    fn an_event_is_a_text_or_bytes_or_a_goodbye() {
        assert!(matches!(of("", "a\nb"), Heard::Text { text, id: Some(_) } if text == "a\nb"));
        assert!(
            matches!(of("binary", "AAH/"), Heard::Binary { bytes, .. } if *bytes == [0, 1, 255])
        );
        assert!(matches!(of("binary", "?"), Heard::Broken(_)));
        let goodbye = of("close", r#"{"code":1001,"reason":"going away"}"#);
        assert!(matches!(goodbye, Heard::Closed(1001, reason) if reason == "going away"));
        assert!(matches!(of("close", "odd"), Heard::Closed(NO_CODE, _)));
    }
}
