//! Requests as the bytes that go out.

use std::fmt::Write as _;

/// A request to be written once and sent often.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    head: String,
    body: Option<String>,
}

impl Request {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self {
            head: format!("{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n"),
            body: None,
        }
    }

    pub(crate) fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// Asks a host by its name, whatever its address is.
    pub(crate) fn get_at(host: &str, target: &str) -> Self {
        Self {
            head: format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n"),
            body: None,
        }
    }

    pub(crate) fn post(target: &str) -> Self {
        Self::new("POST", target)
    }

    #[must_use]
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.head.push_str(name);
        self.head.push_str(": ");
        self.head.push_str(value);
        self.head.push_str("\r\n");
        self
    }

    #[must_use]
    pub(crate) fn json(self, body: &serde_json::Value) -> Self {
        self.header("Content-Type", "application/json")
            .body(&body.to_string())
    }

    #[must_use]
    pub(crate) fn body(mut self, body: &str) -> Self {
        self.body = Some(body.to_owned());
        self
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        let mut text = self.head;
        if let Some(body) = self.body {
            // Writing to a string cannot fail.
            let _ = write!(text, "Content-Length: {}\r\n\r\n{body}", body.len());
        } else {
            text.push_str("\r\n");
        }
        text.into_bytes()
    }
}

/// Percent-encodes everything that is not a letter, a digit or one of `-._~`.
pub(crate) fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_its_length_and_its_empty_line() {
        let bytes = Request::post("/x")
            .header("A", "b")
            .body("hey")
            .into_bytes();
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(
            text,
            "POST /x HTTP/1.1\r\nHost: 127.0.0.1\r\nA: b\r\nContent-Length: 3\r\n\r\nhey"
        );
        let bytes = Request::get("/").into_bytes();
        assert!(bytes.ends_with(b"\r\n\r\n"));
    }

    #[test]
    fn a_query_is_encoded_byte_by_byte() {
        assert_eq!(encode("{\"a\":1} ä"), "%7B%22a%22%3A1%7D%20%C3%A4");
    }
}
