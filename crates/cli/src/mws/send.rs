//! `pilvi mws send`.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Args;
use serde_json::{Value, json};

use super::target::Gateway;
use crate::failure::{Failure, Outcome, Result};
use crate::session::Session;

/// A gateway takes messages of up to this many bytes.
const MESSAGE_BYTES_MAX: u64 = 1 << 20;

#[derive(Args, Clone, Debug)]
pub(super) struct Send {
    /// The text; `-` sends each line of standard input as a message of its own
    #[arg(
        allow_hyphen_values = true,
        required_unless_present = "binary",
        conflicts_with = "binary"
    )]
    message: Option<String>,
    /// Send the bytes of this file, or of standard input with `-`, as one binary message
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Only to sockets with this tag; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Only to this socket; may be repeated
    #[arg(long = "socket", value_name = "ID")]
    sockets: Vec<String>,
}

impl Send {
    pub(super) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        gateway: &Gateway,
    ) -> Outcome {
        let answer = match (&self.binary, self.message.as_deref()) {
            (Some(file), _) => {
                let bytes = read_whole(file, &mut session.place.input)?;
                let body = json!({
                    "data": BASE64.encode(bytes), "encoding": "base64", "receivers": self.receivers(),
                });
                gateway.post("messages", &body).await?
            }
            (None, Some("-")) => return self.send_lines(session, gateway).await,
            (None, message) => self.send(gateway, message.unwrap_or_default()).await?,
        };
        let line = format!("Sent to {}.", self.receivers_in_words());
        session.done(&answer, &line)
    }

    async fn send(&self, gateway: &Gateway, data: &str) -> Result<Value> {
        let body = json!({"data": data, "receivers": self.receivers()});
        gateway.post("messages", &body).await
    }

    /// One after the other, in order. Empty lines say nothing.
    async fn send_lines(&self, session: &mut Session<'_, '_>, gateway: &Gateway) -> Outcome {
        let mut sent = 0_u64;
        while let Some(line) = next_line(&mut session.place.input)? {
            if line.is_empty() {
                continue;
            }
            let answer = self.send(gateway, &line).await.map_err(|failure| Failure {
                what: format!("{} ({} before it were sent)", failure.what, sent),
                ..failure
            })?;
            sent += 1;
            if session.screen.wants_json() {
                session.screen.raw(&format!("{answer}\n"))?;
            }
        }
        if !session.screen.wants_json() {
            let messages = if sent == 1 { "message" } else { "messages" };
            let receivers = self.receivers_in_words();
            let line = format!("Sent {sent} {messages} to {receivers}.");
            session.screen.line(&line)?;
        }
        Ok(0)
    }

    /// Everybody, unless somebody is named.
    fn receivers(&self) -> Value {
        if self.is_for_everybody() {
            return json!({"sockets": ["*"], "tags": null});
        }
        json!({"sockets": self.sockets, "tags": self.tags})
    }

    fn is_for_everybody(&self) -> bool {
        self.tags.is_empty() && self.sockets.is_empty()
    }

    fn receivers_in_words(&self) -> String {
        if self.is_for_everybody() {
            return "everybody who listens".into();
        }
        let named = |kind: &str, names: &[String]| {
            let plural = if names.len() == 1 { "" } else { "s" };
            (!names.is_empty()).then(|| format!("{kind}{plural} {}", names.join(", ")))
        };
        let sockets = named("the socket", &self.sockets);
        let tags = named("the sockets with the tag", &self.tags);
        let both: Vec<String> = sockets.into_iter().chain(tags).collect();
        both.join(" and ")
    }
}

/// The bytes of a message.
fn read_whole(file: &Path, input: &mut dyn BufRead) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = MESSAGE_BYTES_MAX + 1;
    let read: io::Result<usize> = match file == Path::new("-") {
        true => Read::take(input, most).read_to_end(&mut bytes),
        false => File::open(file).and_then(|file| file.take(most).read_to_end(&mut bytes)),
    };
    let shown = file.display();
    read.map_err(|error| {
        Failure::usage(
            format!("{shown} cannot be read: {error}"),
            "name a file whose bytes are to be sent, or - for standard input",
        )
    })?;
    if bytes.len() as u64 > MESSAGE_BYTES_MAX {
        return Err(Failure::usage(
            format!(
                "{shown} holds more than {MESSAGE_BYTES_MAX} bytes, the most that a message has"
            ),
            "send it in pieces, or send where it can be fetched",
        ));
    }
    Ok(bytes)
}

/// The next line without its end; none at the end.
pub(super) fn next_line(input: &mut dyn BufRead) -> Result<Option<String>> {
    let next = "give one message a line, in UTF-8";
    let mut line = Vec::new();
    let read = Read::take(input, MESSAGE_BYTES_MAX + 2).read_until(b'\n', &mut line);
    let read = read
        .map_err(|error| Failure::usage(format!("standard input cannot be read: {error}"), next))?;
    if read == 0 {
        return Ok(None);
    }
    let mut line = String::from_utf8(line)
        .map_err(|_| Failure::usage("standard input holds a line that is no UTF-8", next))?;
    if line.ends_with('\n') {
        line.pop();
        if line.ends_with('\r') {
            line.pop();
        }
    }
    if line.len() as u64 > MESSAGE_BYTES_MAX {
        let what =
            format!("a line is longer than {MESSAGE_BYTES_MAX} bytes, the most that a message has");
        return Err(Failure::usage(what, next));
    }
    Ok(Some(line))
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    #[test]
    fn lines_lose_their_ends_and_nothing_else() {
        let mut input = " a \r\n\n b\u{fffd}".as_bytes();
        let mut lines = Vec::new();
        while let Some(line) = next_line(&mut input).unwrap() {
            lines.push(line);
        }
        assert_eq!(lines, [" a ", "", " b\u{fffd}"]);
    }

    #[test]
    fn a_message_of_bytes_has_a_bound() {
        let mut input = &[0, 255][..];
        assert_eq!(read_whole(Path::new("-"), &mut input).unwrap(), [0, 255]);
        let mut endless = BufReader::new(std::io::repeat(b'x'));
        let failure = read_whole(Path::new("-"), &mut endless).unwrap_err();
        assert!(failure.what.contains("1048576 bytes"), "{}", failure.what);
        let nowhere = Path::new("/nonexistent/file");
        let failure = read_whole(nowhere, &mut endless).unwrap_err();
        assert!(failure.what.contains("cannot be read"), "{}", failure.what);
    }

    #[test]
    fn a_line_without_an_end_is_not_read_for_ever() {
        let mut endless = BufReader::new(std::io::repeat(b'x'));
        let failure = next_line(&mut endless).unwrap_err();
        assert!(failure.what.contains("1048576 bytes"), "{}", failure.what);
        let failure = next_line(&mut &[0xFF, b'\n'][..]).unwrap_err();
        assert!(failure.what.contains("no UTF-8"), "{}", failure.what);
    }
}
