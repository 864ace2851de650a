//! A socket pair of whole messages that carry file descriptors: between server and helper, and server and init.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::wire::garbled;

/// What a message holds at most. Everything longer travels as a memory file.
pub(crate) const MESSAGE_BYTES: usize = 4096;
/// What the kernel lets one message carry.
pub(crate) const MESSAGE_FILES: usize = 253;

/// One end.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: OwnedFd,
}

/// A message as it arrives.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) bytes: Vec<u8>,
    pub(crate) files: Vec<OwnedFd>,
}

impl Channel {
    /// Two ends. Neither survives an exec.
    pub(crate) fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Self { socket: one }, Self { socket: other }))
    }

    pub(crate) fn from_fd(socket: OwnedFd) -> Self {
        Self { socket }
    }

    pub(crate) fn into_fd(self) -> OwnedFd {
        self.socket
    }

    /// Sends one message; waits where the socket is a waiting one.
    pub(crate) fn send(&self, bytes: &[u8], files: &[BorrowedFd<'_>]) -> io::Result<()> {
        send(self.socket.as_fd(), bytes, files)
    }

    /// Receives one message. None when the other end is gone.
    pub(crate) fn receive(&self) -> io::Result<Option<Message>> {
        receive(self.socket.as_fd())
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// One end for tasks.
#[derive(Debug)]
pub(crate) struct AsyncChannel {
    socket: AsyncFd<OwnedFd>,
}

impl AsyncChannel {
    pub(crate) fn new(channel: Channel) -> io::Result<Self> {
        let socket = channel.into_fd();
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self {
            socket: watch(socket, Interest::READABLE | Interest::WRITABLE)?,
        })
    }

    pub(crate) async fn send(&self, bytes: &[u8], files: &[BorrowedFd<'_>]) -> io::Result<()> {
        let attempt = |socket: &OwnedFd| send(socket.as_fd(), bytes, files);
        self.socket.async_io(Interest::WRITABLE, attempt).await
    }

    pub(crate) async fn receive(&self) -> io::Result<Option<Message>> {
        let attempt = |socket: &OwnedFd| receive(socket.as_fd());
        self.socket.async_io(Interest::READABLE, attempt).await
    }
}

/// A descriptor for tasks to wait on.
#[expect(
    unsafe_code,
    reason = "tokio asks for the promise that a descriptor stays the same"
)]
pub(crate) fn watch(file: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an owned descriptor is the same one until it is dropped.
    unsafe { AsyncFd::register_with_interest(file, interest) }.map_err(io::Error::from)
}

fn send(socket: BorrowedFd<'_>, bytes: &[u8], files: &[BorrowedFd<'_>]) -> io::Result<()> {
    if bytes.len() > MESSAGE_BYTES || files.len() > MESSAGE_FILES {
        let text =
            format!("a message holds {MESSAGE_BYTES} bytes and {MESSAGE_FILES} files at most");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(files.len()))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(garbled());
    }
    let parts = [IoSlice::new(bytes)];
    rustix::io::retry_on_intr(|| sendmsg(socket, &parts, &mut ancillary, SendFlags::NOSIGNAL))?;
    Ok(())
}

fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<Message>> {
    let mut bytes = vec![0; MESSAGE_BYTES];
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MESSAGE_FILES))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut attempt = || {
        let parts = &mut [IoSliceMut::new(&mut bytes)];
        recvmsg(socket, parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    };
    let received = match rustix::io::retry_on_intr(&mut attempt) {
        // The other end went without reading all that it was sent. The kernel tells that once, before what the other
        // end had sent itself.
        Err(Errno::CONNRESET) => rustix::io::retry_on_intr(attempt)?,
        outcome => outcome?,
    };
    let files: Vec<OwnedFd> = ancillary
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(files) => Some(files),
            _ => None,
        })
        .flatten()
        .collect();
    if received
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
    {
        return Err(garbled());
    }
    if received.bytes == 0 && files.is_empty() {
        return Ok(None);
    }
    bytes.truncate(received.bytes);
    Ok(Some(Message { bytes, files }))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn messages_arrive_whole_with_their_files() {
        let (one, other) = Channel::pair().unwrap();
        let (reader, mut writer) = io::pipe().unwrap();
        one.send(b"first", &[reader.as_fd()]).unwrap();
        one.send(b"second", &[]).unwrap();
        drop(reader);
        let first = other.receive().unwrap().unwrap();
        assert_eq!(
            (first.bytes.as_slice(), first.files.len()),
            (b"first".as_slice(), 1)
        );
        writer.write_all(b"through").unwrap();
        drop(writer);
        let mut text = String::new();
        let mut received = std::fs::File::from(first.files.into_iter().next().unwrap());
        received.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
        assert_eq!(other.receive().unwrap().unwrap().bytes, b"second");
        drop(one);
        assert!(other.receive().unwrap().is_none());
    }

    #[test]
    fn last_words_arrive_although_nobody_listened() {
        let (one, other) = Channel::pair().unwrap();
        one.send(b"never read", &[]).unwrap();
        other.send(b"last words", &[]).unwrap();
        drop(other);
        assert_eq!(one.receive().unwrap().unwrap().bytes, b"last words");
        assert!(one.receive().unwrap().is_none());
    }

    #[test]
    fn a_message_that_is_too_long_is_refused() {
        let (one, _other) = Channel::pair().unwrap();
        assert!(one.send(&[0; MESSAGE_BYTES + 1], &[]).is_err());
        assert!(one.send(&[0; MESSAGE_BYTES], &[]).is_ok());
    }
}
