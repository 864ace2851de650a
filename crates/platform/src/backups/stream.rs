//! Between the network, which comes and goes in pieces, and archives, which are read and written in one go.

use std::io::{self, Read, Write};

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::BodyExt;
use tokio::sync::mpsc;

/// Pieces on their way at the same time.
const PIECES_MAX: usize = 8;
const PIECE_BYTES: usize = 128 << 10;

/// The end that an archive is written into, from a thread that may wait.
pub(super) struct Outlet {
    pieces: mpsc::Sender<io::Result<Bytes>>,
    begun: Vec<u8>,
}

/// An outlet and the body that comes out of it. When the client goes, the outlet takes nothing any more.
pub(super) fn outlet() -> (Outlet, Body) {
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    let pieces = stream::unfold(receiver, |mut receiver| async move {
        Some((receiver.recv().await?, receiver))
    });
    let outlet = Outlet {
        pieces: sender,
        begun: Vec::with_capacity(PIECE_BYTES),
    };
    (outlet, Body::from_stream(pieces))
}

impl Outlet {
    fn send(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.begun, Vec::with_capacity(PIECE_BYTES));
        self.pieces
            .blocking_send(Ok(piece.into()))
            .map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the client has gone"))
    }
}

impl Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(PIECE_BYTES - self.begun.len());
        self.begun.extend_from_slice(&bytes[..count]);
        if self.begun.len() == PIECE_BYTES {
            self.send()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.begun.is_empty() {
            true => Ok(()),
            false => self.send(),
        }
    }
}

/// The end that an archive is read from, on a thread that may wait.
pub(super) struct Inlet {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

/// An inlet, and the work of feeding it from a body, which ends when either end does.
pub(super) fn inlet(mut body: Body) -> (Inlet, impl Future<Output = ()>) {
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    let feeding = async move {
        while let Some(frame) = body.frame().await {
            let piece = match frame {
                Ok(frame) => match frame.into_data() {
                    Ok(bytes) => Ok(bytes),
                    Err(_) => continue,
                },
                Err(error) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, error)),
            };
            if sender.send(piece).await.is_err() {
                return;
            }
        }
    };
    let inlet = Inlet {
        pieces: receiver,
        piece: Bytes::new(),
    };
    (inlet, feeding)
}

impl Read for Inlet {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                None => return Ok(0),
                Some(piece) => self.piece = piece?,
            }
        }
        let count = buffer.len().min(self.piece.len());
        buffer[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}
