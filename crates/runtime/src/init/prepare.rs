//! Making a sandbox of a new process: its network, its files, and the end of its rights.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::OwnedFd;

use rustix::system::sethostname;
use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::{loopback, rights};
use crate::channel::Message;
use crate::protocol::{Bounds, During, Plan, Program, Refusal};
use crate::seccomp::Filters;
use crate::wire::garbled;
use crate::{landlock, mounts, network};

/// Standard input, output and error of a program.
pub(super) type Streams = [OwnedFd; 3];

/// What is left to do when everything is prepared.
pub(super) struct Prepared {
    pub(super) bounds: Bounds,
    pub(super) program: Program,
    pub(super) streams: Streams,
    pub(super) doors: Vec<OwnedFd>,
}

/// Carries out the order to prepare. At the end of it this process has no right left.
pub(super) fn prepare(
    message: Message,
    cgroups: u8,
    filters: &Filters,
) -> Result<Prepared, Refusal> {
    let mut files = message.files.into_iter();
    let plan = files.next().ok_or_else(garbled).during("read its plan")?;
    let streams = take_streams(&mut files).during("take its standard streams")?;
    let entrances: Vec<OwnedFd> = files.by_ref().take(cgroups.into()).collect();
    join(entrances).during("join its cgroup")?;
    let plan = read(plan)
        .and_then(|bytes| Plan::decode(&bytes))
        .during("read its plan")?;
    rights::go_first_for_memory().during("rank it for the end of memory")?;
    rights::become_inside_user(plan.privileged).during("become its user")?;
    rights::leave_keyring().during("leave the keyring of the server")?;
    rights::forbid_user_namespaces().during("forbid user namespaces in it")?;
    sethostname(plan.hostname.as_bytes()).during("set its host name")?;
    loopback::up().during("bring its loopback up")?;
    let open =
        |port: &u16| loopback::door(*port).during_with(|| format!("open the door at port {port}"));
    let doors = plan.doors.iter().map(open).collect::<Result<_, _>>()?;
    network::raise_fence(&plan.fence).during("raise the fence around its network")?;
    mounts::build::enter(&plan.root, files.collect())?;
    rights::drop_capabilities().during("drop its capabilities")?;
    fence(&plan).during("restrict it by Landlock")?;
    filters.apply().during("restrict its system calls")?;
    Ok(Prepared {
        bounds: plan.bounds,
        program: plan.program,
        streams,
        doors,
    })
}

pub(super) fn take_streams(files: &mut impl Iterator<Item = OwnedFd>) -> io::Result<Streams> {
    let streams: Vec<_> = files.take(3).collect();
    streams.try_into().map_err(|_| garbled())
}

/// The whole of a memory file.
pub(super) fn read(file: OwnedFd) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut file = File::from(file);
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Joins cgroups by ways that the server opened, and makes the place where it then is the top of what it sees.
#[expect(
    unsafe_code,
    reason = "unshare can be unsafe with descriptors of other threads; here is one thread"
)]
fn join(entrances: Vec<OwnedFd>) -> io::Result<()> {
    for entrance in entrances {
        rustix::io::write(&entrance, b"0")?;
    }
    // SAFETY: a new cgroup namespace changes nothing about memory or descriptors.
    Ok(unsafe { unshare_unsafe(UnshareFlags::NEWCGROUP) }?)
}

fn fence(plan: &Plan) -> io::Result<()> {
    let writable = plan
        .root
        .parts
        .iter()
        .filter(|part| part.is_writable(&plan.root.sources));
    let paths: Vec<String> = writable.map(|part| format!("/{}", part.at())).collect();
    landlock::apply(paths.iter().map(String::as_str))
}
