//! The loopback of a new network namespace, and our own doors on it.

use std::io;
use std::net::{SocketAddrV4, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};

use crate::spec::GATEWAY;

/// How many connections from inside wait for the server to take them.
const BACKLOG: i32 = 64;

/// Brings `lo` up. The kernel gives it 127.0.0.1 and ::1 then.
#[expect(unsafe_code, reason = "rustix has no requests to network devices")]
pub(super) fn up() -> io::Result<()> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
    // SAFETY: the request is plain data that lives through both calls; its name is a C string, its union is read as
    // flags, which the first call writes.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(c"lo".to_bytes()) {
            *to = from.cast_signed() as libc::c_char;
        }
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) < 0 {
            return Err(io::Error::last_os_error());
        }
        request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// A listener for one of our own doors. All of 127.0.0.0/8 is there once `lo` is up.
pub(super) fn door(port: u16) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    bind(&socket, &SocketAddrV4::new(GATEWAY, port))?;
    listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket).into())
}

/// A socket of this network namespace, for the server to dial with.
pub(super) fn dialer(family: AddressFamily) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(family, SocketType::STREAM, flags, None)?)
}
