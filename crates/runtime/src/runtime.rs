//! The runtime: everything that the sandboxes of one server share.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pilvi_base::TaskGroup;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::cgroup::Cgroups;
use crate::cleanup::clean_up;
use crate::launch::{Launcher, is_privileged};
use crate::layers::{self, Layer, LayerName};
use crate::network::Networks;
use crate::sandbox::keep;
use crate::spec::{Door, NetworkSettings, Spec};
use crate::{Failure, Sandbox};

/// Connections from inside that wait for the server to take them, of all sandboxes together.
const ARRIVALS: usize = 256;

/// How long all sandboxes together may take to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// How sandboxes are made here.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A scratch folder below the data folder.
    pub folder: PathBuf,
    /// The command that starts our executable again as the helper: its path and `sandbox`.
    pub helper: Vec<OsString>,
    /// What the names of our cgroups and network devices begin with; one of its own for each data folder.
    pub prefix: String,
    /// Layers without which no sandbox is started.
    pub required: Vec<LayerName>,
    pub network: NetworkSettings,
    /// Pilvi's own doors that every sandbox has inside.
    pub doors: Vec<Door>,
}

/// Starts sandboxes. Cloning gives another handle on the same runtime.
#[derive(Clone, Debug)]
pub struct Runtime {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    launcher: Launcher,
    layers: Vec<Layer>,
    required: Vec<LayerName>,
    doors: Vec<Door>,
    arrivals: mpsc::Sender<Accepted>,
    /// Shared by all handles: each arrival is given to one of those who wait.
    arrived: Mutex<mpsc::Receiver<Accepted>>,
    tasks: TaskGroup,
    cgroups: Cgroups,
    networks: Networks,
}

/// A connection that a program in a sandbox has made to one of Pilvi's own doors.
#[derive(Debug)]
pub struct Accepted {
    pub stream: TcpStream,
    /// The port inside: one of [`Settings::doors`].
    pub port: u16,
    /// The name of the sandbox.
    pub sandbox: String,
}

/// Looks which layers this machine has, as [`Runtime::start`] would find them, and leaves nothing behind. The prefix
/// must not be that of a runtime. Blocks.
pub fn survey(prefix: &str, network: &NetworkSettings) -> Vec<Layer> {
    let cgroups = Cgroups::open(prefix);
    clean_up(&cgroups, prefix);
    let networks = Networks::open(network, prefix);
    let layers = layers::probe(&cgroups, &networks);
    networks.close();
    cgroups.remove();
    layers
}

impl Runtime {
    /// Clears what an earlier run left behind, looks which layers there are, and starts the helper.
    pub async fn start(settings: Settings) -> Result<Self, Failure> {
        let Settings {
            folder,
            helper,
            prefix,
            required,
            network,
            doors,
        } = settings;
        let look = move || {
            std::fs::create_dir_all(&folder)?;
            let cgroups = Cgroups::open(&prefix);
            clean_up(&cgroups, &prefix);
            let networks = Networks::open(&network, &prefix);
            let layers = layers::probe(&cgroups, &networks);
            Ok((cgroups, networks, layers))
        };
        let looked = tokio::task::spawn_blocking(look)
            .await
            .map_err(io::Error::other);
        let looked = looked
            .flatten()
            .map_err(|error| Failure::new("find its scratch folder", error));
        let (cgroups, networks, layers) = looked?;
        let (arrivals, arrived) = mpsc::channel(ARRIVALS);
        let launcher = Launcher::start(helper, cgroups.clone(), networks.clone(), doors.clone())?;
        let shared = Shared {
            launcher,
            layers,
            required,
            doors,
            arrivals,
            arrived: Mutex::new(arrived),
            tasks: TaskGroup::new(),
            cgroups,
            networks,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Every layer of protection, and whether it is there.
    pub fn layers(&self) -> &[Layer] {
        &self.shared.layers
    }

    /// Starts a sandbox and the program in it. A launch that fails says at which step, and leaves nothing; so does one
    /// whose caller gives up waiting.
    pub async fn launch(&self, spec: Spec) -> Result<Sandbox, Failure> {
        self.check_required()?;
        if self.shared.tasks.is_stopping() {
            return Err(stopping());
        }
        let (reply, launched) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn("launch", async move {
            // When nobody waits any more, the sandbox is dropped here, which ends it.
            let _ = reply.send(shared.launch(spec).await);
        });
        launched.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// The next connection from inside any sandbox to one of our doors. None after [`Runtime::stop`].
    pub async fn accepted(&self) -> Option<Accepted> {
        let next = async { self.shared.arrived.lock().await.recv().await };
        tokio::select! {
            arrival = next => arrival,
            () = self.shared.tasks.stopping() => None,
        }
    }

    /// Kills every sandbox and waits until nothing of them is left. Nothing can be launched afterwards.
    pub async fn stop(&self) {
        if !self.shared.tasks.drain(PATIENCE).await {
            tracing::error!(
                "some sandboxes have not ended in time; the next start removes what is left of them"
            );
        }
        let (cgroups, networks) = (self.shared.cgroups.clone(), self.shared.networks.clone());
        let close = move || {
            networks.close();
            cgroups.remove();
        };
        let _ = tokio::task::spawn_blocking(close).await;
    }

    fn check_required(&self) -> Result<(), Failure> {
        let unmet = layers::unmet(&self.shared.layers, &self.shared.required);
        if unmet.is_empty() {
            Ok(())
        } else {
            Err(Failure::new(
                "be started",
                io::Error::other(unmet.join(" ")),
            ))
        }
    }
}

impl Shared {
    async fn launch(&self, spec: Spec) -> Result<Sandbox, Failure> {
        let name = spec.name.clone();
        let uid = is_privileged().then_some(spec.uid);
        let running = self.launcher.launch(spec).await?;
        let kept = keep(running, name, uid, &self.doors, &self.arrivals, &self.tasks);
        match kept {
            Ok(sandbox) => Ok(sandbox),
            Err((failure, remains)) => {
                remains.clear().await;
                Err(failure)
            }
        }
    }
}

fn stopping() -> Failure {
    Failure::new("be started", io::Error::other("the server is stopping"))
}
