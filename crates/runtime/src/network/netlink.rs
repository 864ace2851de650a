//! The kernel's own language for links, addresses, routes and rules, as far as we speak it.
//!
//! A handful of messages of fixed form does not need a library and its tasks: bytes are put together, sent in one go,
//! and the kernel's receipts are counted.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::netdevice::name_to_index;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with,
};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_SETLINK: u16 = 19;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const RTM_NEWRULE: u16 = 32;
const NLMSG_ERROR: u16 = 2;

const REQUEST_WITH_RECEIPT: u16 = 1 | 4;
const CREATE_ONLY: u16 = 0x200 | 0x400;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IFF_UP: u32 = 1;

const HEADER_BYTES: usize = 16;

/// How long the kernel may take to answer; it does so within milliseconds.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// Messages that are sent together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    count: u32,
}

/// What a rule does with packets to the addresses it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// They go on as the usual routes say.
    Pass,
    /// The program is told that the address cannot be reached.
    Refuse,
}

/// A rule that is looked at before any route.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    /// Lower ones are looked at first.
    pub(super) priority: u32,
    pub(super) to: (Ipv4Addr, u8),
    /// Only packets of this protocol.
    pub(super) protocol: Option<u8>,
    /// Only packets to this port.
    pub(super) port: Option<u16>,
    pub(super) verdict: Verdict,
}

impl Batch {
    /// A pair of connected network devices: `name` here, with a remark for operators, and `peer` in the
    /// network namespace.
    pub(super) fn add_pair(
        &mut self,
        name: &str,
        remark: &str,
        peer: &str,
        namespace: BorrowedFd<'_>,
    ) {
        let mut message = self.start(RTM_NEWLINK, CREATE_ONLY);
        message.link(0);
        message.text(3, name);
        let remark: String = remark.chars().take(60).collect();
        message.attribute(20, remark.as_bytes());
        message.nest(18, |info| {
            info.text(1, "veth");
            info.nest(2, |data| {
                data.nest(1, |other| {
                    other.link(0);
                    other.text(3, peer);
                    other.attribute(28, &namespace.as_raw_fd().to_ne_bytes());
                });
            });
        });
        message.end();
    }

    /// Switches a device on. No address of IPv6 comes up by itself, and with `forwarding` packets that arrive there
    /// may go on to other devices.
    pub(super) fn switch_on(&mut self, device: &str, forwarding: bool) {
        let mut message = self.start(RTM_SETLINK, 0);
        message.link(0);
        message.text(3, device);
        message.nest(26, |families| {
            families.nest(u16::from(AF_INET6), |v6| v6.attribute(8, &[1]));
            if forwarding {
                families.nest(u16::from(AF_INET), |v4| {
                    v4.nest(1, |settings| settings.attribute(1, &1_u32.to_ne_bytes()));
                });
            }
        });
        message.end();
        let mut message = self.start(RTM_SETLINK, 0);
        message.link(IFF_UP);
        message.text(3, device);
        message.end();
    }

    pub(super) fn remove_link(&mut self, name: &str) {
        let mut message = self.start(RTM_DELLINK, 0);
        message.link(0);
        message.text(3, name);
        message.end();
    }

    pub(super) fn add_address(&mut self, index: u32, address: Ipv4Addr, prefix: u8) {
        let mut message = self.start(RTM_NEWADDR, CREATE_ONLY);
        message.put(&[AF_INET, prefix, 0, 0]);
        message.put(&index.to_ne_bytes());
        message.attribute(2, &address.octets());
        message.attribute(1, &address.octets());
        message.end();
    }

    pub(super) fn add_default_route(&mut self, index: u32, gateway: Ipv4Addr) {
        let mut message = self.start(RTM_NEWROUTE, CREATE_ONLY);
        // Table main, set up at boot, to everywhere, by a gateway.
        message.put(&[AF_INET, 0, 0, 0, 254, 3, 0, 1]);
        message.put(&0_u32.to_ne_bytes());
        message.attribute(5, &gateway.octets());
        message.attribute(4, &index.to_ne_bytes());
        message.end();
    }

    pub(super) fn add_rule(&mut self, rule: &Rule) {
        let (table, action) = match rule.verdict {
            Verdict::Pass => (254, 1),
            Verdict::Refuse => (0, 7),
        };
        let mut message = self.start(RTM_NEWRULE, CREATE_ONLY);
        message.put(&[AF_INET, rule.to.1, 0, 0, table, 0, 0, action]);
        message.put(&0_u32.to_ne_bytes());
        message.attribute(1, &rule.to.0.octets());
        message.attribute(6, &rule.priority.to_ne_bytes());
        if let Some(protocol) = rule.protocol {
            message.attribute(22, &[protocol]);
        }
        if let Some(port) = rule.port {
            let [low, high] = port.to_ne_bytes();
            message.attribute(24, &[low, high, low, high]);
        }
        message.end();
    }

    /// The messages as they are sent.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn start(&mut self, kind: u16, flags: u16) -> Message<'_> {
        self.count += 1;
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&0_u32.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes
            .extend_from_slice(&(REQUEST_WITH_RECEIPT | flags).to_ne_bytes());
        self.bytes.extend_from_slice(&self.count.to_ne_bytes());
        self.bytes.extend_from_slice(&0_u32.to_ne_bytes());
        Message {
            bytes: &mut self.bytes,
            at,
        }
    }
}

/// A message, or an attribute that holds others, while it is being written: its length is put in at the end.
struct Message<'a> {
    bytes: &'a mut Vec<u8>,
    at: usize,
}

impl Message<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The fixed part of every message about a device, which a name that follows tells.
    fn link(&mut self, flags: u32) {
        self.put(&[0; 8]);
        self.put(&flags.to_ne_bytes());
        // Which of the flags are meant.
        self.put(&flags.to_ne_bytes());
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(4 + value.len()).expect("our values are short");
        self.put(&length.to_ne_bytes());
        self.put(&kind.to_ne_bytes());
        self.put(value);
        self.pad();
    }

    fn text(&mut self, kind: u16, value: &str) {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attribute(kind, &bytes);
    }

    fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Message<'_>)) {
        let at = self.bytes.len();
        self.put(&0_u16.to_ne_bytes());
        self.put(&kind.to_ne_bytes());
        fill(&mut Message {
            bytes: self.bytes,
            at,
        });
        let length = u16::try_from(self.bytes.len() - at).expect("our messages are short");
        self.bytes[at..at + 2].copy_from_slice(&length.to_ne_bytes());
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn end(self) {
        let length = u32::try_from(self.bytes.len() - self.at).expect("our messages are short");
        self.bytes[self.at..self.at + 4].copy_from_slice(&length.to_ne_bytes());
    }
}

/// A line to the kernel, about the network namespace of the thread that opened it.
#[derive(Debug)]
pub(super) struct Line(OwnedFd);

impl Line {
    pub(super) fn open() -> io::Result<Self> {
        let line = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            // Protocol 0 is NETLINK_ROUTE.
            None,
        )?;
        set_socket_timeout(&line, Timeout::Recv, Some(PATIENCE))?;
        Ok(Self(line))
    }

    /// The number of a device.
    pub(super) fn index_of(&self, device: &str) -> io::Result<u32> {
        Ok(name_to_index(&self.0, device)?)
    }

    /// Sends the messages and waits for all receipts. The first refusal is the answer; later messages of the batch may
    /// have been carried out.
    pub(super) fn send(&self, batch: Batch) -> io::Result<()> {
        self.send_bytes(&batch.into_bytes())
    }

    /// The same for messages that were put together elsewhere.
    pub(super) fn send_bytes(&self, bytes: &[u8]) -> io::Result<()> {
        sendto(
            &self.0,
            bytes,
            SendFlags::empty(),
            &SocketAddrNetlink::new(0, 0),
        )?;
        let mut waiting = count_messages(bytes);
        let mut outcome = Ok(());
        let mut answer = [0; 8192];
        while waiting > 0 {
            let (length, _) = recv(&self.0, &mut answer[..], RecvFlags::empty())?;
            for code in receipts(&answer[..length]) {
                waiting = waiting.saturating_sub(1);
                if code != 0 && outcome.is_ok() {
                    outcome = Err(io::Error::from_raw_os_error(-code));
                }
            }
        }
        outcome
    }
}

fn messages(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(rest.get(..4)?.try_into().ok()?) as usize;
        let message = rest.get(..length).filter(|it| it.len() >= HEADER_BYTES)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

fn count_messages(bytes: &[u8]) -> usize {
    messages(bytes).count()
}

/// The codes of the receipts in an answer: 0, or an error number below zero.
fn receipts(answer: &[u8]) -> impl Iterator<Item = i32> {
    messages(answer).filter_map(|message| {
        let kind = u16::from_ne_bytes([message[4], message[5]]);
        let code = message.get(HEADER_BYTES..HEADER_BYTES + 4)?;
        (kind == NLMSG_ERROR).then(|| i32::from_ne_bytes(code.try_into().unwrap_or_default()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_whole_messages_one_after_the_other() {
        let mut batch = Batch::default();
        batch.add_address(2, Ipv4Addr::new(10, 0, 0, 1), 31);
        batch.remove_link("pilvi-odd");
        batch.add_default_route(2, Ipv4Addr::new(10, 0, 0, 0));
        let bytes = batch.into_bytes();
        assert_eq!(count_messages(&bytes), 3);
        let length: usize = messages(&bytes)
            .map(|it| it.len().next_multiple_of(4))
            .sum();
        assert_eq!(length, bytes.len());
    }

    #[test]
    fn an_answer_that_is_cut_short_holds_no_receipt() {
        let mut whole = vec![0; 36];
        whole[0] = 36;
        whole[4] = 2;
        whole[16..20].copy_from_slice(&(-17_i32).to_ne_bytes());
        assert_eq!(receipts(&whole).collect::<Vec<_>>(), [-17]);
        for length in 0..whole.len() {
            assert_eq!(receipts(&whole[..length]).count(), 0);
        }
        assert_eq!(receipts(&[0; 64]).count(), 0);
    }
}
