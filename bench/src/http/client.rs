//! A blocking client for what comes before a measurement: one connection, one request after the other.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::request::Request;
use super::response::Response;

/// How long a server may take for one answer before a measurement is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much an answer may hold.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// One keep-alive connection.
pub(crate) struct Client {
    address: SocketAddr,
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer with its body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Result<Self> {
        Ok(Self {
            address,
            stream: open(address)?,
            buffer: Vec::new(),
        })
    }

    pub(crate) fn send(&mut self, request: Request) -> Result<Answer> {
        self.stream
            .write_all(&request.into_bytes())
            .context("the server took no request")?;
        let mut piece = [0; 16 << 10];
        loop {
            if let Some(response) = Response::parse(&self.buffer)? {
                let answer = Answer {
                    status: response.status,
                    body: response.body(),
                };
                let (length, closes) = (response.length, response.closes);
                self.buffer.drain(..length);
                if closes {
                    self.stream = open(self.address)?;
                }
                return Ok(answer);
            }
            let count = self.stream.read(&mut piece).context("no answer came")?;
            if count == 0 {
                bail!("the server closed the connection instead of answering");
            }
            self.buffer.extend_from_slice(&piece[..count]);
            if self.buffer.len() > ANSWER_BYTES_MAX {
                bail!("the answer is too long");
            }
        }
    }

    /// Sends and expects success with a body of JSON, or an empty one, which is null.
    pub(crate) fn ask(&mut self, request: Request) -> Result<Value> {
        let answer = self.send(request)?;
        if !(200..300).contains(&answer.status) {
            bail!(
                "the server answered {}: {}",
                answer.status,
                String::from_utf8_lossy(&answer.body)
            );
        }
        if answer.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&answer.body).context("the answer is not JSON")
    }
}

fn open(address: SocketAddr) -> Result<TcpStream> {
    let stream =
        TcpStream::connect(address).with_context(|| format!("could not connect to {address}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// The text at a JSON pointer.
pub(crate) fn text(value: &Value, pointer: &str) -> Result<String> {
    let text = value.pointer(pointer).and_then(Value::as_str);
    text.map(str::to_owned)
        .with_context(|| format!("no text at {pointer} in {value}"))
}
