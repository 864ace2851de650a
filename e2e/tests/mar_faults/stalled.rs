//! A line to the server that goes dead in the middle of a push.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

/// Passes on what clients send until one connection has sent so much. The rest of that one stays where it is.
pub(crate) struct Stalled {
    pub(crate) address: SocketAddr,
}

impl Stalled {
    pub(crate) fn after(bytes: usize, server: SocketAddr) -> Self {
        let listener = TcpListener::bind((server.ip(), 0)).unwrap();
        let address = listener.local_addr().unwrap();
        // Ends with the process of the tests.
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(upstream) = TcpStream::connect(server) else {
                    continue;
                };
                let back = (upstream.try_clone().unwrap(), client.try_clone().unwrap());
                thread::spawn(move || pass(back.0, back.1, usize::MAX));
                thread::spawn(move || pass(client, upstream, bytes));
            }
        });
        Self { address }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, mut bytes: usize) {
    let mut chunk = [0; 16 * 1024];
    while bytes > 0 {
        match from.read(&mut chunk) {
            Ok(count @ 1..) if to.write_all(&chunk[..count]).is_ok() => {
                bytes = bytes.saturating_sub(count);
            }
            _ => {
                // The other side hears of it, if it is still there.
                let _ = to.shutdown(Shutdown::Both);
                let _ = from.shutdown(Shutdown::Both);
                return;
            }
        }
    }
    // Neither closed nor read: whoever sends more fills the kernel's buffers and waits.
    thread::park();
    drop((from, to));
}
