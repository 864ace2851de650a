//! The init of a sandbox, from its first order to its end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::AddressFamily;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process_group, setsid, wait};
use rustix::thread::set_name;

use super::prepare::{Prepared, prepare, read, take_streams};
use super::program::{self, exit_at_once};
use super::{loopback, rights, signals};
use crate::channel::{Channel, Message};
use crate::protocol::{Bounds, During, FIRST, Family, Order, Program, Refusal, Report};
use crate::seccomp::Filters;
use crate::spec::Ending;
use crate::wire::garbled;

/// How many programs the server may have running at once beside the first.
const PROGRAMS: usize = 256;
/// How many sockets go in one message.
const SOCKETS: u8 = 16;

/// A running sandbox, seen from its first process.
struct Init<'a> {
    to_server: &'a Channel,
    bounds: Bounds,
    /// Those that the server knows, by its numbers. Everything else that ends is reaped and forgotten.
    programs: Vec<(u64, Pid)>,
}

/// Lives as the init of a sandbox. When this process ends, the kernel ends all others of the sandbox.
pub(super) fn run(to_server: &Channel, filters: &Filters) -> ! {
    let _ = set_name(c"pilvi-init");
    let code = match live(to_server, filters) {
        Ok(()) => 0,
        Err(refusal) => {
            let program = FIRST;
            let _ = to_server.send(&Report::Failed { program, refusal }.encode(), &[]);
            1
        }
    };
    exit_at_once(code)
}

fn live(to_server: &Channel, filters: &Filters) -> Result<(), Refusal> {
    setsid().during("start its session")?;
    let children = signals::as_file().during("block its signals")?;
    let talk = "talk to the server";
    let Some((Order::Prepare { cgroups }, message)) = next(to_server).during(talk)? else {
        return Ok(());
    };
    let prepared = prepare(message, cgroups, filters)?;
    let doors: Vec<BorrowedFd<'_>> = prepared.doors.iter().map(AsFd::as_fd).collect();
    to_server
        .send(&Report::Prepared.encode(), &doors)
        .during(talk)?;
    let Some((Order::Start, _)) = next(to_server).during(talk)? else {
        return Ok(());
    };
    // Only now: whoever connects the network finds our namespaces through /proc.
    rights::hide().during("hide its init")?;
    let Prepared {
        bounds,
        program,
        streams,
        doors,
    } = prepared;
    drop(doors);
    let first = program::start(&program, &streams, bounds)?;
    drop((program, streams));
    let mut init = Init {
        to_server,
        bounds,
        programs: vec![(FIRST, first)],
    };
    init.report(&Report::Started { program: FIRST }, &[])
        .during(talk)?;
    // The server is gone, or a message made no sense: there is nobody to tell.
    let _ = init.serve(&children);
    Ok(())
}

/// The next order, or nothing when the server is gone.
fn next(to_server: &Channel) -> io::Result<Option<(Order, Message)>> {
    let Some(message) = to_server.receive()? else {
        return Ok(None);
    };
    Ok(Some((Order::decode(&message.bytes)?, message)))
}

impl Init<'_> {
    /// Serves until the first program has ended or the server is gone.
    fn serve(&mut self, children: &OwnedFd) -> io::Result<()> {
        loop {
            let mut waiting = [
                PollFd::new(self.to_server, PollFlags::IN),
                PollFd::new(children, PollFlags::IN),
            ];
            rustix::io::retry_on_intr(|| poll(&mut waiting, None))?;
            let [order, ended] = waiting.map(|file| !file.revents().is_empty());
            if ended && self.reap(children)? {
                return Ok(());
            }
            if order {
                match next(self.to_server)? {
                    Some((order, message)) => self.carry_out(order, message)?,
                    None => return Ok(()),
                }
            }
        }
    }

    /// Reaps everything that has ended. Says whether the first program has.
    fn reap(&mut self, children: &OwnedFd) -> io::Result<bool> {
        let mut signal = [0_u8; size_of::<libc::signalfd_siginfo>()];
        let _ = rustix::io::read(children, &mut signal);
        // None: nothing more has ended. An error: there are no children at all.
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let Some(place) = self.programs.iter().position(|(_, known)| *known == pid) else {
                continue;
            };
            let (program, _) = self.programs.swap_remove(place);
            let ending = ending(status);
            self.report(&Report::Exited { program, ending }, &[])?;
            if program == FIRST {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn carry_out(&mut self, order: Order, message: Message) -> io::Result<()> {
        match order {
            Order::Prepare { .. } | Order::Start => Err(garbled()),
            Order::Signal { program, signal } => {
                self.signal(program, signal);
                Ok(())
            }
            Order::Exec { program } => {
                let report = match self.exec(program, message) {
                    Ok(()) => Report::Started { program },
                    Err(refusal) => Report::Failed { program, refusal },
                };
                self.report(&report, &[])
            }
            Order::Sockets { family, count } => self.sockets(family, count.min(SOCKETS)),
        }
    }

    fn signal(&self, program: u64, signal: i32) {
        let known = self.programs.iter().find(|(number, _)| *number == program);
        if let (Some((_, pid)), Some(signal)) = (known, Signal::from_named_raw(signal)) {
            // It is not reaped yet, so its number is its own. Every program leads a process group.
            let _ = kill_process_group(*pid, signal);
        }
    }

    fn exec(&mut self, number: u64, message: Message) -> Result<(), Refusal> {
        if self.programs.len() >= PROGRAMS {
            let full = io::Error::other(format!("{PROGRAMS} programs run already"));
            return Err(Refusal::new("start one more program", &full));
        }
        let mut files = message.files.into_iter();
        let program = files.next().ok_or_else(garbled).and_then(read);
        let program = program
            .and_then(|bytes| Program::decode(&bytes))
            .during("read what to start")?;
        let streams = take_streams(&mut files).during("take its standard streams")?;
        let pid = program::start(&program, &streams, self.bounds)?;
        self.programs.push((number, pid));
        Ok(())
    }

    fn sockets(&self, family: Family, count: u8) -> io::Result<()> {
        let domain = match family {
            Family::V4 => AddressFamily::INET,
            Family::V6 => AddressFamily::INET6,
        };
        let mut sockets = Vec::new();
        let mut errno = 0;
        for _ in 0..count {
            match loopback::dialer(domain) {
                Ok(socket) => sockets.push(socket),
                Err(error) => {
                    errno = error.raw_os_error().unwrap_or(libc::EIO);
                    break;
                }
            }
        }
        let files: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
        self.report(&Report::Sockets { family, errno }, &files)
    }

    fn report(&self, report: &Report, files: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.to_server.send(&report.encode(), files)
    }
}

fn ending(status: WaitStatus) -> Ending {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Ending::Code(code),
        (None, Some(signal)) => Ending::Signal(signal),
        // Stops are not asked for, so there is no third way.
        (None, None) => Ending::Code(0),
    }
}
