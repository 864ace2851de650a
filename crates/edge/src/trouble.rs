//! What a client is told when the app does not answer.

use std::fmt::Write as _;

use bytes::BytesMut;

use crate::head::Fault;
use crate::{Absence, Code};

/// Why a request is answered by the router itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) status: u16,
    /// For the app's log; a request that reached no app has none.
    pub(crate) code: Option<Code>,
    pub(crate) sentence: &'static str,
}

/// How the router answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner<'a> {
    pub(crate) html: bool,
    pub(crate) keep_alive: bool,
    pub(crate) is_head: bool,
    pub(crate) request_id: &'a str,
}

impl Trouble {
    const fn new(status: u16, code: Option<Code>, sentence: &'static str) -> Self {
        Self {
            status,
            code,
            sentence,
        }
    }

    pub(crate) const UNKNOWN_HOST: Self = Self::new(
        404,
        None,
        "There is no app at this address. Check its name; a domain of your own has to be added to the app first.",
    );
    pub(crate) const HEAD_TOO_LARGE: Self = Self::new(
        431,
        None,
        "The head of the request is too large. Cookies are the usual reason: delete those of this site.",
    );
    pub(crate) const TOO_SLOW: Self = Self::new(408, None, "The request took too long to arrive.");
    pub(crate) const STALLED: Self = Self::new(
        408,
        Some(Code::H28),
        "The body of the request took too long to arrive.",
    );
    pub(crate) const BROKEN_BODY: Self = Self::new(
        400,
        None,
        "The body of the request is not framed as its head announces.",
    );
    pub(crate) const UNREACHABLE: Self = Self::new(
        503,
        Some(Code::H21),
        "No process of this app takes connections at the moment. Try again shortly.",
    );
    pub(crate) const SLOW_TO_CONNECT: Self = Self::new(
        503,
        Some(Code::H19),
        "The processes of this app are too busy to take a connection. Try again shortly.",
    );
    pub(crate) const NO_RESPONSE: Self = Self::new(
        502,
        Some(Code::H13),
        "The app closed the connection without a response. Its owner finds more in its log.",
    );
    pub(crate) const MISFIT: Self = Self::new(
        502,
        Some(Code::H17),
        "What the app answered is not a valid HTTP response.",
    );
    pub(crate) const TIMEOUT: Self =
        Self::new(504, Some(Code::H12), "The app did not answer in time.");

    pub(crate) fn absent(absence: Absence) -> Self {
        Self::new(503, Some(absence.code()), absence.sentence())
    }

    /// The name of the status.
    fn reason(self) -> &'static str {
        match self.status {
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            413 => "Content Too Large",
            431 => "Request Header Fields Too Large",
            501 => "Not Implemented",
            502 => "Bad Gateway",
            503 => "Service Unavailable",
            504 => "Gateway Timeout",
            505 => "HTTP Version Not Supported",
            _ => "Error",
        }
    }

    /// Media type and text of the body.
    pub(crate) fn body(self, html: bool, request_id: &str) -> (&'static str, String) {
        self.body_saying(self.sentence, html, request_id)
    }

    /// The same with another sentence, which must not come from a request.
    pub(crate) fn body_saying(
        self,
        sentence: &str,
        html: bool,
        request_id: &str,
    ) -> (&'static str, String) {
        if html {
            ("text/html; charset=utf-8", self.page(sentence, request_id))
        } else {
            ("application/json", self.json(sentence, request_id))
        }
    }

    /// Nothing in it comes from the request but its id, which is letters, digits and hyphens.
    fn json(self, sentence: &str, request_id: &str) -> String {
        let mut error = serde_json::json!({
            "reason": self.reason().replace(' ', ""),
            "message": sentence,
            "requestId": request_id,
        });
        if let Some(code) = self.code {
            error["code"] = code.name().into();
        }
        serde_json::json!({ "error": error }).to_string()
    }

    fn page(self, sentence: &str, request_id: &str) -> String {
        let code = self.code.map_or("", Code::name);
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n<title>{status} {reason}</title>\n\
             <style>body{{font:1.1rem/1.6 system-ui,sans-serif;max-width:34rem;margin:18vh auto;padding:0 1.2rem;\
             color:#222;background:#fff}}small{{color:#767676}}@media(prefers-color-scheme:dark)\
             {{body{{color:#ddd;background:#181818}}}}</style>\n</head>\n<body>\n<h1>{reason}</h1>\n\
             <p>{sentence}</p>\n<p><small>{status} {code} · request {request_id}</small></p>\n</body>\n</html>\n",
            status = self.status,
            reason = self.reason(),
        )
    }

    /// Appends the whole answer, in HTTP/1.1.
    pub(crate) fn write(self, out: &mut BytesMut, manner: Manner<'_>) {
        let (kind, body) = self.body(manner.html, manner.request_id);
        let mut head = String::with_capacity(320);
        let _ = write!(
            head,
            "HTTP/1.1 {} {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nX-Request-Id: {}\r\n\
             Cache-Control: no-store\r\n",
            self.status,
            self.reason(),
            body.len(),
            manner.request_id,
        );
        for (name, value) in self.extras(manner.html) {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if !manner.keep_alive {
            head.push_str("Connection: close\r\n");
        }
        head.push_str("\r\n");
        out.extend_from_slice(head.as_bytes());
        if !manner.is_head {
            out.extend_from_slice(body.as_bytes());
        }
    }

    /// Headers that go with the status or the form.
    pub(crate) fn extras(self, html: bool) -> impl Iterator<Item = (&'static str, &'static str)> {
        let policy = html.then_some((
            "Content-Security-Policy",
            "default-src 'none'; style-src 'unsafe-inline'",
        ));
        let again = (self.status == 503).then_some(("Retry-After", "2"));
        policy.into_iter().chain(again)
    }
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Malformed(sentence) => Self::new(400, None, sentence),
            Fault::TooManyHeaders => Self::new(431, None, "The request has more than 100 headers."),
            Fault::Version => Self::new(
                505,
                None,
                "This server speaks HTTP/1.1, HTTP/1.0 and, over TLS, HTTP/2.",
            ),
            Fault::Coding => Self::new(
                501,
                None,
                "The only Transfer-Encoding this server knows is chunked.",
            ),
            Fault::Connect => Self::new(405, None, "This server is no proxy for other hosts."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_has_the_form_that_the_client_reads() {
        let manner = Manner {
            html: false,
            keep_alive: true,
            is_head: false,
            request_id: "abc-1",
        };
        let mut out = BytesMut::new();
        Trouble::absent(Absence::Crashed).write(&mut out, manner);
        let text = std::str::from_utf8(&out).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["error"]["code"], "H10");
        assert_eq!(body["error"]["requestId"], "abc-1");

        let mut page = BytesMut::new();
        Trouble::UNKNOWN_HOST.write(
            &mut page,
            Manner {
                html: true,
                ..manner
            },
        );
        let text = std::str::from_utf8(&page).unwrap();
        assert!(text.contains("text/html") && text.contains("There is no app at this address."));
    }
}
