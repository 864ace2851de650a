//! Event streams (SSE), taken apart as their specification says.

use std::collections::VecDeque;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;

/// What a server tells is a quarter of this at most.
const EVENT_BYTES_MAX: usize = 8 << 20;
/// A server says something every 25 s, if only a comment; one that is silent for so long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(100);

/// An event with its data. Those without are no events, says the specification.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// Empty where it was not named: then it is a message.
    pub(crate) name: String,
    /// The last that was given, in this event or one before.
    pub(crate) id: Option<String>,
    /// Its lines, with a line feed between them.
    pub(crate) data: String,
}

/// The events of an answer.
pub(crate) struct Events {
    body: Incoming,
    parser: Parser,
}

impl Events {
    pub(crate) fn new(body: Incoming) -> Self {
        Self {
            body,
            parser: Parser::default(),
        }
    }

    /// The next event, or in words why there is none.
    pub(crate) async fn next(&mut self) -> Result<Event, String> {
        loop {
            if let Some(event) = self.parser.events.pop_front() {
                return Ok(event);
            }
            if self.parser.waiting() > EVENT_BYTES_MAX {
                return Err("a message of the server has no end".into());
            }
            match tokio::time::timeout(SILENCE_MAX, self.body.frame()).await {
                Err(_) => return Err(format!("nothing came for {} s", SILENCE_MAX.as_secs())),
                Ok(None) => return Err("the server ended the stream".into()),
                Ok(Some(Err(error))) => return Err(format!("the stream broke off: {error}")),
                Ok(Some(Ok(frame))) => {
                    if let Some(bytes) = frame.data_ref() {
                        self.parser.read(bytes);
                    }
                }
            }
        }
    }
}

/// Makes events of bytes, however they are cut.
#[derive(Debug, Default)]
struct Parser {
    line: Vec<u8>,
    /// The last byte ended a line, and a line feed behind it belongs to that end.
    after_return: bool,
    name: String,
    id: Option<String>,
    data: Option<String>,
    events: VecDeque<Event>,
}

impl Parser {
    /// How many bytes are kept of what is not whole yet.
    fn waiting(&self) -> usize {
        self.line.len() + self.data.as_ref().map_or(0, String::len)
    }

    fn read(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            let after_return = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => self.end_line(),
                byte => self.line.push(byte),
            }
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        if line.is_empty() {
            return self.end_event();
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "id" => self.id = Some(value.to_owned()),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                none => *none = Some(value.to_owned()),
            },
            // A comment, or what later versions say.
            _ => {}
        }
    }

    fn end_event(&mut self) {
        let name = std::mem::take(&mut self.name);
        if let Some(data) = self.data.take() {
            let id = self.id.clone();
            self.events.push_back(Event { name, id, data });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, id: Option<&str>, data: &str) -> Event {
        Event {
            name: name.into(),
            id: id.map(str::to_owned),
            data: data.into(),
        }
    }

    #[test]
    fn events_are_taken_out_of_whatever_arrives() {
        let stream = ": still here\n\nid: 1-0\nevent: enter\ndata: {\"n\":1}\n\n\
                      event: x\n\ndata:two\r\ndata\rdata:  lines\r\n\r\nodd: 1\ndata: ä\n\ndata: {";
        let mut parser = Parser::default();
        // However it is cut.
        for byte in stream.as_bytes() {
            parser.read(&[*byte]);
        }
        let expected = [
            event("enter", Some("1-0"), "{\"n\":1}"),
            event("", Some("1-0"), "two\n\n lines"),
            event("", Some("1-0"), "ä"),
        ];
        assert_eq!(parser.events, expected);
        assert_eq!(parser.line, b"data: {");

        let mut at_once = Parser::default();
        at_once.read(stream.as_bytes());
        assert_eq!(at_once.events, expected);
        assert!(at_once.waiting() > 0);
    }
}
