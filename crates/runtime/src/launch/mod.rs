//! Bringing a sandbox up, from the server's side: cgroup, birth, network and files, then the program.

mod helper;
mod order;
mod remains;
mod told;

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::thread::{CapabilitySet, capabilities};

use self::helper::Helper;
use self::order::{Prepared, Surroundings};
pub(crate) use self::order::{memory_file, own, streams};
pub(crate) use self::remains::Remains;
use crate::Failure;
use crate::cgroup::{Ability, Cgroups};
use crate::channel::{AsyncChannel, Channel, Message};
use crate::network::{Network, Networks};
use crate::protocol::{Birth, FIRST, Order, Report};
use crate::spec::{Door, Spec};
use crate::wire::garbled;

/// How long a sandbox may take to come up. It takes some milliseconds; this is for a machine in trouble.
const PATIENCE: Duration = Duration::from_secs(20);

/// What every launch needs.
#[derive(Debug)]
pub(crate) struct Launcher {
    helper: Helper,
    cgroups: Cgroups,
    networks: Networks,
    doors: Vec<Door>,
    privileged: bool,
    is_memory_limited: bool,
}

/// A sandbox whose program runs.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) channel: AsyncChannel,
    pub(crate) remains: Remains,
    /// The listeners of our doors, in their order.
    pub(crate) listeners: Vec<OwnedFd>,
}

impl Launcher {
    /// Starts the helper.
    pub(crate) fn start(
        helper: Vec<OsString>,
        cgroups: Cgroups,
        networks: Networks,
        doors: Vec<Door>,
    ) -> Result<Self, Failure> {
        let lacks_memory = cgroups
            .lacks()
            .iter()
            .any(|lack| lack.ability == Ability::Memory);
        Ok(Self {
            helper: Helper::start(helper)?,
            is_memory_limited: !lacks_memory,
            cgroups,
            networks,
            doors,
            privileged: is_privileged(),
        })
    }

    /// Brings a sandbox up. When it fails, everything that was made is gone by the time it returns.
    pub(crate) async fn launch(&self, spec: Spec) -> Result<Running, Failure> {
        let name = spec.name.clone();
        let prepared = self.order(spec).await?;
        let mut remains = Remains::new(prepared.cgroup);
        let order = prepared.order;
        let outcome = tokio::time::timeout(PATIENCE, self.bring_up(&name, order, &mut remains));
        let outcome = outcome.await.unwrap_or_else(|_| {
            let late = io::Error::new(io::ErrorKind::TimedOut, "it took too long");
            Err(Failure::new("come up", late))
        });
        match outcome {
            Ok((channel, listeners)) => Ok(Running {
                channel,
                remains,
                listeners,
            }),
            Err(failure) => {
                remains.clear().await;
                Err(failure)
            }
        }
    }

    /// Everything that is done with files of the host happens here, away from the threads that serve.
    async fn order(&self, spec: Spec) -> Result<Made, Failure> {
        let mut around = Surroundings {
            doors: self.doors.clone(),
            files: Vec::new(),
            fence: Vec::new(),
            privileged: self.privileged,
            is_memory_limited: self.is_memory_limited,
        };
        if spec.network {
            around.files = self.networks.files();
            around.fence = self.networks.fence();
        }
        let cgroups = self.cgroups.clone();
        let work = move || {
            let order = order::prepare(spec, around)?;
            let step = "make its cgroup";
            let cgroup = cgroups
                .create(&order.name, &order.limits)
                .map_err(|error| Failure::new(step, error))?;
            Ok(Made { cgroup, order })
        };
        let worked = tokio::task::spawn_blocking(work).await;
        worked.unwrap_or_else(|error| Err(Failure::new("be prepared", io::Error::other(error))))
    }

    async fn bring_up(
        &self,
        name: &str,
        order: Prepared,
        remains: &mut Remains,
    ) -> Result<(AsyncChannel, Vec<OwnedFd>), Failure> {
        let (ours, its) = Channel::pair().map_err(|error| Failure::new("be connected", error))?;
        let birth = self.birth(order.uid, remains);
        let (pid, handle) = self
            .helper
            .bear(birth, its, remains.cgroup.directory())
            .await?;
        remains.init = Some(handle);
        let ours = AsyncChannel::new(ours).map_err(|error| Failure::new("be connected", error))?;
        let entrances = remains
            .cgroup
            .doors()
            .map_err(|error| Failure::new("join its cgroup", error))?;
        let wants_network = order.wants_network;
        let prepare = prepare(&ours, order, entrances);
        let (listeners, network) = tokio::join!(prepare, self.connect(name, pid, wants_network));
        // A network that was made must go also when the preparation failed; and when both failed, the network did
        // because the preparation had.
        let connected = network.map(|network| remains.network = network);
        let listeners = listeners?;
        connected?;
        if listeners.len() != self.doors.len() {
            return Err(Failure::new("open our doors in it", garbled()));
        }
        tell(&ours, Order::Start, &[]).await?;
        match hear(&ours).await?.0 {
            Report::Started { program: FIRST } => Ok((ours, listeners)),
            _ => Err(Failure::new("start its program", garbled())),
        }
    }

    fn birth(&self, uid: u32, remains: &Remains) -> Birth {
        let (uid, gid) = if self.privileged {
            (uid, uid)
        } else {
            let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
            (uid.as_raw(), gid.as_raw())
        };
        Birth {
            uid,
            gid,
            privileged: self.privileged,
            into_cgroup: remains.cgroup.directory().is_some(),
        }
    }

    async fn connect(
        &self,
        name: &str,
        pid: u32,
        wanted: bool,
    ) -> Result<Option<Network>, Failure> {
        if !wanted {
            return Ok(None);
        }
        match self.networks.connect(name, pid).await {
            Ok(network) => Ok(Some(network)),
            // A machine that offers none: the list of layers tells that, and why.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(None),
            Err(error) => Err(Failure::new("be connected to the network", error)),
        }
    }
}

/// An order, and the cgroup that was made for it.
struct Made {
    cgroup: crate::cgroup::Cgroup,
    order: Prepared,
}

/// Whether this process can make sandboxes run as users of their own.
pub(crate) fn is_privileged() -> bool {
    let needed = CapabilitySet::SYS_ADMIN
        | CapabilitySet::SETUID
        | CapabilitySet::SETGID
        | CapabilitySet::CHOWN;
    let has_all = capabilities(None).is_ok_and(|sets| sets.effective.contains(needed));
    has_all && rustix::process::geteuid().is_root()
}

/// Has the init prepare itself; returns the listeners of our doors.
async fn prepare(
    channel: &AsyncChannel,
    order: Prepared,
    entrances: Vec<OwnedFd>,
) -> Result<Vec<OwnedFd>, Failure> {
    let cgroups =
        u8::try_from(entrances.len()).map_err(|_| Failure::new("join its cgroup", garbled()))?;
    let files = [&order.plan]
        .into_iter()
        .chain(&order.streams)
        .chain(&entrances)
        .chain(&order.trees);
    let files: Vec<BorrowedFd<'_>> = files.map(AsFd::as_fd).collect();
    tell(channel, Order::Prepare { cgroups }, &files).await?;
    match hear(channel).await? {
        (Report::Prepared, listeners) => Ok(listeners),
        _ => Err(Failure::new("be prepared", garbled())),
    }
}

async fn tell(
    channel: &AsyncChannel,
    order: Order,
    files: &[BorrowedFd<'_>],
) -> Result<(), Failure> {
    let sent = channel.send(&order.encode(), files).await;
    sent.map_err(|error| Failure::new("be told what to do", error))
}

/// The next report; a failure when it tells of one.
async fn hear(channel: &AsyncChannel) -> Result<(Report, Vec<OwnedFd>), Failure> {
    let wrong = |error: io::Error| Failure::new("answer", error);
    let message = channel.receive().await.map_err(wrong)?;
    let Some(Message { bytes, files }) = message else {
        let gone = io::Error::new(io::ErrorKind::UnexpectedEof, "its init has ended");
        return Err(wrong(gone));
    };
    match Report::decode(&bytes).map_err(wrong)? {
        Report::Failed { refusal, .. } => Err(refusal.into()),
        report => Ok((report, files)),
    }
}
