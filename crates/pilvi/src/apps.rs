//! The wiring of apps: how a push becomes a process, and a request finds it.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use pilvi_base::secret::{hex, sha256};
use pilvi_base::{Clock, Keyring, TaskGroup};
use pilvi_core::{Audit, Directory, Identity, Quotas, Rates};
use pilvi_edge::Edge;
use pilvi_git::{Git, HostKey, Repositories, SshLimits, SshServer};
use pilvi_mar::journal::Journal;
use pilvi_mar::pipeline::{BuildLimits, Packs, Pipeline};
use pilvi_mar::supervisor::{Foundation, Sandboxes, Supervisor};
use pilvi_mar::{
    Addresses, Deploys, Folders, Gate, Mar, Parts, SshAddress, clear_interrupted_builds,
    clear_trees_of_another_boot, git_site,
};
use pilvi_model::app::StackName;
use pilvi_runtime::stack::HOST;
use pilvi_runtime::{
    Bind, Door as InnerDoor, LayerName, LayerState, NetworkSettings, Runtime, Stacks,
};
use pilvi_store::Store;
use pilvi_web::{Door, Hosts, Scope, Site};
use tokio::net::TcpListener;

use crate::arguments::AppOptions;
use crate::listeners;

/// Certificates that apps are to trust: the local CA's alone, and together with those that the host trusts.
const CA: &str = "/etc/pilvi/ca.pem";
const TRUST: &str = "/etc/pilvi/trust.pem";
/// The local CA's, and those that the host trusts beyond the usual ones. Node.js has the usual ones itself, and reads
/// whatever comes on top at every start: all of them would take it 40 ms.
const EXTRA: &str = "/etc/pilvi/extra.pem";
/// What Debian trusts.
const SYSTEM_TRUST: &str = "/etc/ssl/certs/ca-certificates.crt";
/// The usual ones of it, a file each.
const USUAL_TRUST: &str = "/usr/share/ca-certificates/mozilla";

/// What apps share with the other services.
pub(crate) struct House<'a> {
    pub(crate) data: &'a Path,
    pub(crate) store: Store,
    pub(crate) identity: Identity,
    pub(crate) directory: Directory,
    pub(crate) keyring: Keyring,
    pub(crate) clock: Clock,
    pub(crate) tasks: TaskGroup,
    pub(crate) audit: Audit,
    pub(crate) quotas: Quotas,
    pub(crate) rates: Rates,
    /// The certificate of the local CA.
    pub(crate) ca_pem: &'a str,
}

/// Everything that apps need, built and not yet reachable.
pub(crate) struct Apps {
    pub(crate) mar: Mar,
    pub(crate) edge: Edge,
    runtime: Runtime,
    supervisor: Supervisor,
    git: Git,
    host_key: HostKey,
    tasks: TaskGroup,
}

impl Apps {
    pub(crate) async fn build(
        house: House<'_>,
        options: &AppOptions,
        addresses: &listeners::Addresses,
    ) -> anyhow::Result<Self> {
        let House {
            data,
            store,
            clock,
            keyring,
            tasks,
            ..
        } = house;
        let folders =
            Folders::open(&data.join("mar")).context("could not open the folder of the apps")?;
        clear_interrupted_builds(&folders).context("could not clear away interrupted builds")?;
        clear_trees_of_another_boot(&folders, &boot_id(), &data.join("boot-id"))
            .context("could not clear away the slugs of an earlier start of the machine")?;
        let stacks = Stacks::open(data.join("stacks")).showing(trust(data, house.ca_pem)?);
        let runtime = start_runtime(data, options).await?;
        let journal = Journal::open(
            folders.root(),
            clock.clone(),
            pilvi_mar::journal::Settings::default(),
        )
        .context("could not open the logs of the apps")?;
        let edge = Edge::new(
            pilvi_edge::Settings {
                apps_domain: options.apps_domain.clone(),
                reserved: Self::hosts(options).names(),
                idle_timeout: Duration::from_secs(options.apps_idle_timeout),
                ..pilvi_edge::Settings::default()
            },
            Arc::new(journal.clone()),
            tasks.clone(),
        );
        let settings = mar_settings(options, addresses, &stacks, &runtime);
        let repositories = Repositories::open(folders.root())
            .context("could not open the repositories of the apps")?;
        let supervisor = Supervisor::new(Foundation {
            store: store.clone(),
            keyring: keyring.clone(),
            clock: clock.clone(),
            tasks: tasks.clone(),
            folders: folders.clone(),
            edge: edge.clone(),
            journal: journal.clone(),
            launcher: Arc::new(Sandboxes::new(runtime.clone(), stacks.clone())),
            addresses: settings.addresses.clone(),
            limits: settings.limits,
            settings: pilvi_mar::supervisor::Settings {
                boot_timeout: Duration::from_secs(options.apps_boot_timeout),
                ..pilvi_mar::supervisor::Settings::default()
            },
        });
        let mar = Mar::new(Parts {
            store: store.clone(),
            identity: house.identity,
            directory: house.directory.clone(),
            keyring,
            clock,
            tasks: tasks.clone(),
            processes: Arc::new(supervisor.clone()),
            journal,
            repositories: repositories.clone(),
            folders,
            settings,
        })
        .with_audit(house.audit)
        .with_quotas(house.quotas);
        mar.clear_unfinished().await?;
        let packs =
            Packs::lay_out(&data.join("buildpacks")).context("could not lay out the buildpacks")?;
        let limits = BuildLimits {
            time: Duration::from_secs(options.apps_build_timeout),
            ..BuildLimits::default()
        };
        let pipeline = Pipeline::new(runtime.clone(), packs, limits);
        let git = Git::start(
            pilvi_git::Settings {
                folder: data.join("git"),
                program: vec![own_program()?],
                limits: pilvi_git::Limits::default(),
            },
            repositories,
            Arc::new(Gate::new(store, house.directory).with_rates(house.rates)),
            Arc::new(Deploys::new(mar.clone(), pipeline, stacks)),
            tasks.clone(),
        )
        .await
        .context("could not prepare for pushes; git must be installed")?;
        let host_key = HostKey::open(&data.join("ssh_host_ed25519_key"))
            .context("could not open the host key of the SSH server")?;
        Ok(Self {
            mar,
            edge,
            runtime,
            supervisor,
            git,
            host_key,
            tasks,
        })
    }

    pub(crate) fn git_site(&self) -> Site {
        git_site(self.git.clone())
    }

    /// Names of Pilvi's own that look like those of apps.
    pub(crate) fn hosts(options: &AppOptions) -> Hosts {
        let (domain, datacenters) = (&options.apps_domain, &options.datacenters);
        datacenters
            .iter()
            .fold(Hosts::shared(), |hosts, datacenter| {
                hosts.and_of_domain(domain, datacenter.id())
            })
    }

    /// Starts the apps that ran when the server stopped, and lets people push.
    pub(crate) async fn open(
        self,
        ssh: TcpListener,
        door: Arc<Door>,
        tls: Arc<rustls::ServerConfig>,
        addresses: &listeners::Addresses,
    ) -> anyhow::Result<Runtime> {
        let Self {
            mar,
            runtime,
            supervisor,
            git,
            host_key,
            tasks,
            ..
        } = self;
        tracing::debug!(
            fingerprint = host_key.fingerprint(),
            "the host key of the SSH server"
        );
        let server = SshServer::new(git, &host_key, SshLimits::default());
        tasks.spawn("ssh", server.serve(ssh, tasks.clone()));
        tasks.spawn("doors of the sandboxes", {
            let (runtime, tasks) = (runtime.clone(), tasks.clone());
            let ports = Ports {
                http: addresses.http.port(),
                https: addresses.https.port(),
            };
            async move { welcome(runtime, door, tls, ports, tasks).await }
        });
        supervisor.recover().await?;
        mar.resume().await?;
        Ok(runtime)
    }
}

/// Where everybody else finds what programs in sandboxes find at 80 and 443.
#[derive(Clone, Copy)]
struct Ports {
    http: u16,
    https: u16,
}

/// Serves what programs in sandboxes ask of Pilvi, like anybody else's requests. What they ask of other apps takes the
/// way that everybody takes: from here it would come from 127.0.0.1.
async fn welcome(
    runtime: Runtime,
    door: Arc<Door>,
    tls: Arc<rustls::ServerConfig>,
    ports: Ports,
    tasks: TaskGroup,
) {
    loop {
        let accepted = tokio::select! {
            accepted = runtime.accepted() => accepted,
            () = tasks.stopping() => return,
        };
        let Some(accepted) = accepted else { return };
        let (tls, public_port) = match accepted.port {
            443 => (Some(Arc::clone(&tls)), ports.https),
            _ => (None, ports.http),
        };
        let stream = accepted.stream;
        door.take(stream, tls, public_port, Scope::OwnNames, &tasks)
            .await;
    }
}

async fn start_runtime(data: &Path, options: &AppOptions) -> anyhow::Result<Runtime> {
    let of_datacenters = options.datacenters.iter().flat_map(|datacenter| {
        ["mws", "mar"].map(|service| format!("{service}-{}", datacenter.id()))
    });
    let names: Vec<String> = ["api".to_owned(), "eds".to_owned()]
        .into_iter()
        .chain(of_datacenters)
        .map(|name| format!("{name}.{}", options.apps_domain))
        .collect();
    let doors = [80, 443].map(|port| InnerDoor {
        port,
        names: names.clone(),
    });
    let data = data
        .canonicalize()
        .context("could not find the data folder")?;
    let digest = sha256(data.as_os_str().as_encoded_bytes());
    let settings = pilvi_runtime::Settings {
        folder: data.join("sandboxes"),
        helper: vec![own_program()?, "sandbox".into()],
        prefix: format!("pilvi-{}", &hex(&digest)[..8]),
        required: required_layers(&options.require_layers)?,
        network: NetworkSettings {
            range: options.apps_network,
            allowed: options.apps_allow.clone(),
        },
        doors: doors.to_vec(),
    };
    let runtime = Runtime::start(settings)
        .await
        .context("could not prepare the sandboxes of the apps")?;
    for layer in runtime.layers() {
        let (state, why) = match &layer.state {
            LayerState::On => continue,
            LayerState::Partial(why) => ("partial", why),
            LayerState::Missing(why) => ("missing", why),
        };
        tracing::warn!(layer = layer.name.as_str(), state, why, "{}", layer.costs);
    }
    Ok(runtime)
}

fn required_layers(words: &[String]) -> anyhow::Result<Vec<LayerName>> {
    let mut layers = Vec::new();
    for word in words {
        match (word.as_str(), LayerName::parse(word)) {
            ("all", _) => layers.extend(LayerName::all()),
            (_, Some(layer)) => layers.push(layer),
            (_, None) => {
                let known: Vec<_> = LayerName::all().map(|layer| layer.as_str()).collect();
                bail!(
                    "--require-layer {word}: there is no such layer; the layers are {}, and `all` stands for every one",
                    known.join(", ")
                );
            }
        }
    }
    Ok(layers)
}

fn mar_settings(
    options: &AppOptions,
    addresses: &listeners::Addresses,
    stacks: &Stacks,
    runtime: &Runtime,
) -> pilvi_mar::Settings {
    let stacks = stacks.clone();
    let missing = runtime
        .layers()
        .iter()
        .filter(|layer| layer.state != LayerState::On);
    pilvi_mar::Settings {
        addresses: mar_addresses(options, addresses),
        limits: pilvi_mar::Limits::default(),
        stacks: Arc::new(move || known_stacks(&stacks)),
        layers_missing: missing
            .map(|layer| layer.name.as_str().to_owned())
            .collect(),
    }
}

fn mar_addresses(options: &AppOptions, addresses: &listeners::Addresses) -> Addresses {
    Addresses {
        apps_domain: options.apps_domain.clone(),
        http_port: addresses.http.port(),
        https_port: addresses.https.port(),
        ssh: Some(SshAddress {
            host: addresses.ssh.ip().to_string(),
            port: addresses.ssh.port(),
        }),
        https_origin: format!("https://{}", addresses.https),
        own_hosts: [&options.apps_domain]
            .into_iter()
            .chain(&options.own_names)
            .cloned()
            .collect(),
        // Who is reached by loopback only is reached by no name that a stranger could want.
        own_names_are_known: !options.own_names.is_empty() || addresses.only_loopback(),
    }
}

/// The stacks that can be chosen: names of old, the host's own programs, and those that were made.
fn known_stacks(stacks: &Stacks) -> Vec<StackName> {
    let made = stacks.list().into_iter().map(|stack| stack.name);
    ["cedar-14", "cedar", HOST]
        .map(str::to_owned)
        .into_iter()
        .chain(made)
        .filter_map(|name| name.parse().ok())
        .collect()
}

/// The certificates as files that sandboxes are shown.
fn trust(data: &Path, ca_pem: &str) -> anyhow::Result<[Bind; 3]> {
    let system = std::fs::read_to_string(SYSTEM_TRUST).unwrap_or_default();
    let texts = BTreeMap::from([
        (CA, ca_pem.to_owned()),
        (TRUST, format!("{system}\n{ca_pem}")),
        (
            EXTRA,
            format!("{}\n{ca_pem}", unusual(&system, &usual_certificates())),
        ),
    ]);
    let folder = data.join("trust");
    std::fs::create_dir_all(&folder).context("could not make the folder of certificates")?;
    let mut binds = Vec::new();
    for (at, text) in texts {
        let source = folder.join(Path::new(at).file_name().unwrap_or_default());
        // A server whose disk is full must be able to start all the same.
        if std::fs::read(&source).map_or(true, |known| known != text.as_bytes()) {
            std::fs::write(&source, text)
                .with_context(|| format!("could not write `{}`", source.display()))?;
        }
        binds.push(Bind {
            at: at.to_owned(),
            source,
        });
    }
    Ok(binds.try_into().expect("there are three"))
}

/// None where the host keeps no such list: then all that it trusts is unusual.
fn usual_certificates() -> String {
    let files = std::fs::read_dir(USUAL_TRUST).into_iter().flatten();
    let texts = files.filter_map(|file| std::fs::read_to_string(file.ok()?.path()).ok());
    texts.collect()
}

/// The certificates of `all` that are not among the `usual` ones.
fn unusual(all: &str, usual: &str) -> String {
    let bare = |certificate: &str| certificate.split_whitespace().collect::<String>();
    let usual: HashSet<String> = certificates(usual).map(bare).collect();
    let others = certificates(all).filter(|certificate| !usual.contains(&bare(certificate)));
    others.collect::<Vec<_>>().join("\n")
}

/// Each certificate in a text, without what stands between them.
fn certificates(text: &str) -> impl Iterator<Item = &str> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let parts = text.split_inclusive(END).filter(|part| part.ends_with(END));
    parts.filter_map(|part| Some(&part[part.rfind(BEGIN)?..]))
}

/// This program, to be started again as one of its helpers.
fn own_program() -> anyhow::Result<OsString> {
    let path = std::env::current_exe().context("could not find out where this program is")?;
    Ok(path.into_os_string())
}

/// What tells one start of the machine from another.
fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::arguments::{Arguments, Command};

    fn addresses_of(line: &[&str], bound: &str) -> Addresses {
        let line = ["pilvi", "serve"].iter().chain(line);
        let arguments = Arguments::try_parse_from(line).unwrap();
        let Command::Serve(options) = arguments.command else {
            panic!("not serve")
        };
        let bound = bound.parse().unwrap();
        let bound = listeners::Addresses {
            http: bound,
            https: bound,
            ssh: bound,
            health: None,
        };
        mar_addresses(&options.apps, &bound)
    }

    #[test]
    fn names_of_the_server_itself_are_no_apps() {
        let line = [
            "--own-name",
            "Cloud.Example.com",
            "--own-name=a.example.org,b.example.org",
        ];
        let addresses = addresses_of(&line, "0.0.0.0:80");
        for (name, own) in [
            ("cloud.example.com", true),
            ("console.cloud.example.com", true),
            ("b.example.org", true),
            ("example.com", false),
            ("www.example.org", false),
            ("todo.localhost", false),
        ] {
            assert_eq!(addresses.is_own(&name.parse().unwrap()), own, "{name}");
        }
        let wrong = ["pilvi", "serve", "--own-name", "not a name"];
        assert!(Arguments::try_parse_from(wrong).is_err());
    }

    #[test]
    fn a_server_that_others_reach_must_know_its_names_before_it_gives_any_away() {
        let named = ["--own-name", "cloud.example.com"];
        for (line, bound, known) in [
            (&[][..], "127.0.0.1:80", true),
            (&[], "[::1]:80", true),
            (&[], "0.0.0.0:80", false),
            (&[], "192.0.2.1:80", false),
            (&named, "0.0.0.0:80", true),
        ] {
            let addresses = addresses_of(line, bound);
            assert_eq!(addresses.own_names_are_known, known, "{line:?} {bound}");
        }
    }

    fn certificate(body: &str) -> String {
        format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----")
    }

    #[test]
    fn what_the_host_trusts_beyond_the_usual_is_found_however_it_is_wrapped() {
        let (a, b, c) = (certificate("aa\nAA"), certificate("bb"), certificate("cc"));
        let all = format!("# first\n{a}\n{b}\r\n# own\n{c}\n");
        let usual = format!("{}\n{}", certificate("aaAA"), b.replace('\n', "\r\n"));
        assert_eq!(unusual(&all, &usual), c);
        assert_eq!(unusual(&all, ""), format!("{a}\n{b}\n{c}"));
        assert_eq!(unusual("no certificate", &usual), "");
        assert_eq!(unusual("-----BEGIN CERTIFICATE-----\ncut short", ""), "");
    }
}
