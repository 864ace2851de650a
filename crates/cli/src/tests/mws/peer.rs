//! The other end of WebSockets: each connection in turn says what it is told to, and notes how the client leaves.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket, accept};

/// Instead of a text: the server goes away.
pub(super) const GOING_AWAY: &str = "\u{1}close 1001";
/// Instead of a text: the socket is closed on purpose.
pub(super) const NORMAL: &str = "\u{1}close 1000";
/// Instead of a text: the gateway's app does not let the socket in.
pub(super) const REFUSED: &str = "\u{1}close 1008";
/// Instead of a text: waits for one and says it again.
pub(super) const ECHO: &str = "\u{1}echo";
/// Instead of a text: bytes.
pub(super) const BYTES: &str = "\u{1}bytes";

pub(super) struct Peer {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

/// What one connection says.
pub(super) fn say(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

impl Peer {
    pub(super) fn start<const N: usize>(connections: [Vec<String>; N]) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let thread = std::thread::spawn({
            let heard = heard.clone();
            move || {
                for texts in connections {
                    let (stream, _) = listener.accept().unwrap();
                    // A connection without a request ends the thread.
                    let Ok(socket) = accept(stream) else { return };
                    let end = converse(socket, &texts);
                    heard.lock().unwrap().push(end);
                }
            }
        });
        Self {
            address,
            heard,
            thread: Some(thread),
        }
    }

    pub(super) fn uri(&self) -> String {
        format!("ws://{}/?token=once", self.address)
    }

    /// How each of the connections ended, once all are over.
    pub(super) fn heard(mut self) -> Vec<String> {
        self.thread.take().unwrap().join().unwrap();
        self.heard.lock().unwrap().clone()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(TcpStream::connect(self.address));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn converse(mut socket: WebSocket<TcpStream>, texts: &[String]) -> String {
    for text in texts {
        let told = match &**text {
            GOING_AWAY => socket.close(Some(frame(1001, "going away"))),
            NORMAL => socket.close(Some(frame(1000, ""))),
            REFUSED => socket.close(Some(frame(1008, "members only"))),
            ECHO => echo(&mut socket),
            BYTES => socket.send(Message::binary(vec![0, 1, 255])),
            text => socket.send(Message::text(text)),
        };
        if told.is_err() {
            break;
        }
    }
    loop {
        match socket.read() {
            Ok(Message::Close(frame)) => {
                // Our part of the goodbye is sent by reading on.
                while socket.read().is_ok() {}
                let code = frame.map_or(1005, |frame| u16::from(frame.code));
                return format!("close {code}");
            }
            Ok(_) => {}
            Err(error) => return error.to_string(),
        }
    }
}

fn echo(socket: &mut WebSocket<TcpStream>) -> Result<(), Error> {
    loop {
        if let Message::Text(text) = socket.read()? {
            return socket.send(Message::text(format!("heard {text}")));
        }
    }
}

fn frame(code: u16, reason: &'static str) -> CloseFrame {
    CloseFrame {
        code: code.into(),
        reason: reason.into(),
    }
}
