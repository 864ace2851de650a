//! Where a response ends, and what it says.

use anyhow::{Context, Result, bail};

const HEADERS_MAX: usize = 64;

/// A response that has arrived completely.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Response<'a> {
    pub(crate) status: u16,
    /// How many bytes of the input it took.
    pub(crate) length: usize,
    /// The server will not take another request on this connection.
    pub(crate) closes: bool,
    body: Body<'a>,
}

#[derive(Debug, PartialEq, Eq)]
enum Body<'a> {
    Plain(&'a [u8]),
    Chunked(&'a [u8]),
}

impl<'a> Response<'a> {
    /// Frames the first response in `input`; `None` while it is incomplete.
    pub(crate) fn parse(input: &'a [u8]) -> Result<Option<Self>> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut head = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(head_length) = head
            .parse(input)
            .context("the response has no valid head")?
        else {
            return Ok(None);
        };
        let status = head.code.context("the response has no status")?;
        let value = |name: &str| {
            let header = head
                .headers
                .iter()
                .find(|header| header.name.eq_ignore_ascii_case(name));
            header.and_then(|header| std::str::from_utf8(header.value).ok())
        };
        let closes = value("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let rest = &input[head_length..];
        let chunked =
            value("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
        let (body, body_length) = if chunked {
            let Some(length) = chunked_length(rest)? else {
                return Ok(None);
            };
            (Body::Chunked(&rest[..length]), length)
        } else {
            let length = plain_length(status, value("content-length"))?;
            let Some(body) = rest.get(..length) else {
                return Ok(None);
            };
            (Body::Plain(body), length)
        };
        Ok(Some(Self {
            status,
            length: head_length + body_length,
            closes,
            body,
        }))
    }

    /// The body without its framing.
    pub(crate) fn body(&self) -> Vec<u8> {
        match self.body {
            Body::Plain(bytes) => bytes.to_vec(),
            Body::Chunked(framed) => unchunked(framed),
        }
    }
}

fn plain_length(status: u16, content_length: Option<&str>) -> Result<usize> {
    if matches!(status, 101 | 204 | 304) {
        return Ok(0);
    }
    match content_length {
        Some(text) => text.parse().context("the response's length is no number"),
        None => bail!("a response of status {status} has no length"),
    }
}

/// How many bytes a chunked body takes with its framing; `None` while it is incomplete. No trailers.
fn chunked_length(bytes: &[u8]) -> Result<Option<usize>> {
    let mut at = 0;
    loop {
        let Some((data, size)) = chunk_at(bytes, at)? else {
            return Ok(None);
        };
        at = data + size + 2;
        if at > bytes.len() {
            return Ok(None);
        }
        if size == 0 {
            return Ok(Some(at));
        }
    }
}

/// Where the data of the chunk at `at` starts, and how long it is.
fn chunk_at(bytes: &[u8], at: usize) -> Result<Option<(usize, usize)>> {
    let rest = &bytes[at..];
    let Some(end) = memchr::memchr(b'\n', rest) else {
        return Ok(None);
    };
    let line = std::str::from_utf8(&rest[..end]).context("a chunk has no readable size")?;
    let digits = line.trim_end().split(';').next().unwrap_or_default();
    let size = usize::from_str_radix(digits, 16).context("a chunk's size is no number")?;
    Ok(Some((at + end + 1, size)))
}

fn unchunked(framed: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(framed.len());
    let mut at = 0;
    while let Ok(Some((data, size))) = chunk_at(framed, at)
        && size > 0
    {
        body.extend_from_slice(&framed[data..data + size]);
        at = data + size + 2;
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every cut is incomplete, and only the whole is the response.
    fn frame(text: &str) -> Response<'_> {
        for cut in 0..text.len() {
            assert_eq!(
                Response::parse(&text.as_bytes()[..cut]).unwrap(),
                None,
                "cut at {cut}"
            );
        }
        Response::parse(text.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn a_response_with_a_length_ends_there() {
        let text = "HTTP/1.1 201 Created\r\ncontent-length: 5\r\n\r\nhello";
        let response = frame(text);
        assert_eq!((response.status, response.length), (201, text.len()));
        assert_eq!(response.body(), b"hello");
        assert!(!response.closes);
    }

    #[test]
    fn what_follows_a_response_is_left_alone() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let more = format!("{text}HTTP/1.1 500");
        let response = Response::parse(more.as_bytes()).unwrap().unwrap();
        assert_eq!(response.length, text.len());
        assert!(response.closes);
    }

    #[test]
    fn chunks_are_joined() {
        let text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
            5;x=y\r\nhello\r\nA\r\n, world\r\n!\r\n0\r\n\r\n";
        let response = frame(text);
        assert_eq!(response.length, text.len());
        assert_eq!(response.body(), b"hello, world\r\n!");
    }

    #[test]
    fn a_response_without_content_needs_no_length() {
        assert_eq!(frame("HTTP/1.1 204 No Content\r\n\r\n").body(), b"");
    }

    #[test]
    fn what_cannot_be_framed_is_an_error() {
        for text in [
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            "not http at all\r\n\r\n",
        ] {
            assert!(Response::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
