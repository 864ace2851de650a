//! What a service manager is told, by systemd's protocol: datagrams to the socket that `NOTIFY_SOCKET` names.
//!
//! With `Type=notify` a unit counts as started only when everything answers, and `systemctl status` says in words what
//! the server does. Where nobody listens, nothing is sent.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Everything answers.
pub(crate) fn ready(status: &str) {
    tell(&format!("READY=1\nSTATUS={}", one_line(status)));
}

/// Nothing new is begun.
pub(crate) fn stopping() {
    tell("STOPPING=1\nSTATUS=Stopping: running requests come to their end");
}

/// What happens right now.
pub(crate) fn status(status: &str) {
    tell(&format!("STATUS={}", one_line(status)));
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[expect(
    clippy::disallowed_methods,
    reason = "the service manager names its socket in the environment, and this is the door to it"
)]
fn tell(words: &str) {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
        return;
    };
    if let Err(error) = send(name.as_encoded_bytes(), words) {
        tracing::warn!(%error, "the service manager could not be told how the server is");
    }
}

fn send(name: &[u8], words: &str) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt as _;
    let address = match name.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?,
    };
    let socket = UnixDatagram::unbound()?;
    // A manager that does not read must not hold up the server.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(words.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_arrive_at_a_socket_of_either_kind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let abstract_name = format!("pilvi-test-{}", std::process::id());
        let of_a_file = UnixDatagram::bind(&path).unwrap();
        let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        let without_a_file = UnixDatagram::bind_addr(&address).unwrap();
        let name = format!("@{abstract_name}");
        for (socket, name) in [
            (of_a_file, path.to_str().unwrap()),
            (without_a_file, &*name),
        ] {
            send(name.as_bytes(), "READY=1").unwrap();
            let mut words = [0; 64];
            let length = socket.recv(&mut words).unwrap();
            assert_eq!(&words[..length], b"READY=1");
        }
        assert!(send(b"/no/such/socket", "READY=1").is_err());
    }
}
