//! The layers of protection around a sandbox: which of them this machine offers, found out by trying.

use std::fmt;
use std::fs;

use landlock::{ABI, Access, AccessFs, LandlockStatus, Ruleset, RulesetAttr};

use crate::cgroup::{Ability, Cgroups, Kind};
use crate::host;
use crate::network::Networks;

/// One protection of the sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    pub name: LayerName,
    pub state: LayerState,
    /// What it means for the apps when it is missing, in one sentence.
    pub costs: &'static str,
}

/// Whether a layer is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayerState {
    On,
    /// It is there with a limit; which one.
    Partial(String),
    /// It is not there; why, and what would bring it.
    Missing(String),
}

/// The layers, from the outermost to the innermost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LayerName {
    /// Every app has a uid of its own on the host.
    OwnUid,
    UserNamespace,
    PidNamespace,
    MountNamespace,
    IpcNamespace,
    UtsNamespace,
    NetNamespace,
    CgroupNamespace,
    MemoryLimit,
    PidsLimit,
    CpuLimit,
    CgroupKill,
    Seccomp,
    Landlock,
    EgressFilter,
    Overlay,
}

/// Every layer with its word in the configuration, the flag of `unshare` that tries it, and what it costs when missing.
const LAYERS: [(LayerName, &str, Option<&str>, &str); 16] = [
    (
        LayerName::OwnUid,
        "own-uid",
        None,
        "All apps share one user of the host, so only the other layers keep them from each other's files.",
    ),
    (
        LayerName::UserNamespace,
        "user-namespace",
        Some("--user"),
        "A program that breaks out of its sandbox has the rights that it had inside.",
    ),
    (
        LayerName::PidNamespace,
        "pid-namespace",
        Some("--pid"),
        "An app can see and signal the processes of others.",
    ),
    (
        LayerName::MountNamespace,
        "mount-namespace",
        Some("--mount"),
        "An app sees the file system of the host.",
    ),
    (
        LayerName::IpcNamespace,
        "ipc-namespace",
        Some("--ipc"),
        "An app can reach the shared memory and the message queues of others.",
    ),
    (
        LayerName::UtsNamespace,
        "uts-namespace",
        Some("--uts"),
        "An app sees the name of the host.",
    ),
    (
        LayerName::NetNamespace,
        "net-namespace",
        Some("--net"),
        "An app can reach every service on the loopback of the host.",
    ),
    (
        LayerName::CgroupNamespace,
        "cgroup-namespace",
        Some("--cgroup"),
        "An app sees the names of the host's control groups.",
    ),
    (
        LayerName::MemoryLimit,
        "memory-limit",
        None,
        "One app can use up the memory of the host; only each single process has a limit.",
    ),
    (
        LayerName::PidsLimit,
        "pids-limit",
        None,
        "One app can start processes until the host has no room for more; only each user has a limit.",
    ),
    (
        LayerName::CpuLimit,
        "cpu-limit",
        None,
        "One busy app can slow down all others.",
    ),
    (
        LayerName::CgroupKill,
        "cgroup-kill",
        None,
        "Processes are ended one by one while their group is frozen, which takes longer.",
    ),
    (
        LayerName::Seccomp,
        "seccomp",
        None,
        "An app can make every system call, so a fault of the kernel is easier to use.",
    ),
    (
        LayerName::Landlock,
        "landlock",
        None,
        "Only the mounts keep an app within its own files; there is no second barrier.",
    ),
    (
        LayerName::EgressFilter,
        "egress-filter",
        None,
        "Apps have no network beyond their own loopback and Pilvi's doors.",
    ),
    (
        LayerName::Overlay,
        "overlay",
        None,
        "Apps cannot start, because the folder /app of each is a layer in memory above its slug.",
    ),
];

/// From this version on Landlock holds back everything that a sandbox uses it for: files, and signals and abstract
/// sockets to others (6).
const LANDLOCK_WANTED: ABI = ABI::V6;

impl LayerName {
    /// Every layer, from the outermost to the innermost.
    pub fn all() -> impl Iterator<Item = Self> {
        LAYERS.into_iter().map(|row| row.0)
    }

    /// Its word in the configuration and in reports.
    pub fn as_str(self) -> &'static str {
        self.row().1
    }

    /// The layer of a word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::all().find(|name| name.as_str() == word)
    }

    fn row(self) -> (Self, &'static str, Option<&'static str>, &'static str) {
        LAYERS
            .into_iter()
            .find(|row| row.0 == self)
            .expect("the table holds every layer")
    }
}

impl fmt::Display for LayerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Layer {
    /// Whether it protects, be it with a limit.
    pub fn is_there(&self) -> bool {
        !matches!(self.state, LayerState::Missing(_))
    }
}

/// A sentence about every required layer that is not there, or that is there with a limit only.
pub(crate) fn unmet(layers: &[Layer], required: &[LayerName]) -> Vec<String> {
    layers
        .iter()
        .filter(|layer| required.contains(&layer.name))
        .filter_map(|layer| match &layer.state {
            LayerState::On => None,
            LayerState::Partial(why) | LayerState::Missing(why) => Some(format!(
                "The layer {} is required, but {why}. {}",
                layer.name, layer.costs
            )),
        })
        .collect()
}

/// Tries every layer. Starts a few short processes, so it takes some milliseconds. Blocks.
pub(crate) fn probe(cgroups: &Cgroups, networks: &Networks) -> Vec<Layer> {
    let namespaces = probe_namespaces();
    LAYERS
        .into_iter()
        .map(|(name, _, flag, costs)| {
            let state = match name {
                LayerName::OwnUid => own_uid(),
                LayerName::MemoryLimit => memory(cgroups),
                LayerName::PidsLimit => limit(cgroups, Ability::Pids),
                LayerName::CpuLimit => limit(cgroups, Ability::Cpu),
                LayerName::CgroupKill => limit(cgroups, Ability::Kill),
                LayerName::Seccomp => seccomp(),
                LayerName::Landlock => landlock(),
                LayerName::EgressFilter => egress(networks),
                LayerName::Overlay => overlay(),
                _ => namespace(&namespaces, flag.unwrap_or_default()),
            };
            Layer { name, state, costs }
        })
        .collect()
}

fn own_uid() -> LayerState {
    if rustix::process::geteuid().is_root() {
        LayerState::On
    } else {
        LayerState::Missing("only root can give every app a user of its own".into())
    }
}

fn memory(cgroups: &Cgroups) -> LayerState {
    let lacks = cgroups.lacks();
    let lack = |ability| lacks.iter().find(|lack| lack.ability == ability);
    match (lack(Ability::Memory), lack(Ability::Swap)) {
        (Some(lack), _) => LayerState::Missing(lack.why.clone()),
        (None, Some(lack)) => {
            LayerState::Partial(format!("{}, so swap comes on top of the limit", lack.why))
        }
        (None, None) => LayerState::On,
    }
}

fn limit(cgroups: &Cgroups, ability: Ability) -> LayerState {
    match cgroups
        .lacks()
        .into_iter()
        .find(|lack| lack.ability == ability)
    {
        None => LayerState::On,
        Some(lack) if ability == Ability::Kill && !matches!(cgroups.kind(), Kind::None(_)) => {
            LayerState::Partial(lack.why)
        }
        Some(lack) => LayerState::Missing(lack.why),
    }
}

fn seccomp() -> LayerState {
    match fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail") {
        Ok(actions) if actions.contains("errno") => LayerState::On,
        _ => LayerState::Missing("the kernel is built without CONFIG_SECCOMP_FILTER".into()),
    }
}

fn egress(networks: &Networks) -> LayerState {
    match networks.state() {
        Ok(None) => LayerState::On,
        Ok(Some(problem)) => LayerState::Partial(problem),
        Err(why) => LayerState::Missing(why),
    }
}

/// Tries it on a thread of its own, which takes the restriction with it when it ends.
fn landlock() -> LayerState {
    let tried = std::thread::spawn(|| {
        let ruleset = Ruleset::default()
            .handle_access(AccessFs::from_all(ABI::V1))?
            .create()?;
        ruleset.restrict_self()
    });
    match tried
        .join()
        .map(|outcome| outcome.map(|status| status.landlock))
    {
        Ok(Ok(LandlockStatus::Available { effective_abi, .. }))
            if effective_abi >= LANDLOCK_WANTED =>
        {
            LayerState::On
        }
        Ok(Ok(LandlockStatus::Available { effective_abi, .. })) => LayerState::Partial(format!(
            "the kernel has version {} of Landlock, and everything is held back from version {} on",
            effective_abi as i32, LANDLOCK_WANTED as i32
        )),
        Ok(Ok(LandlockStatus::NotEnabled)) => LayerState::Missing(
            "Landlock is switched off: add it to the kernel's lsm= parameter".into(),
        ),
        Ok(Ok(LandlockStatus::NotImplemented)) => {
            LayerState::Missing("the kernel is built without CONFIG_SECURITY_LANDLOCK".into())
        }
        Ok(Err(error)) => LayerState::Missing(format!("Landlock does not work ({error})")),
        Err(_) => LayerState::Missing("the attempt to use Landlock ended badly".into()),
    }
}

fn overlay() -> LayerState {
    // In a private mount namespace, so nothing of it is left; as the sandbox does it, with its layers in memory.
    let script = "mount -t tmpfs none /tmp && mkdir /tmp/l /tmp/u /tmp/w /tmp/m && \
                  mount -t overlay none -o lowerdir=/tmp/l,upperdir=/tmp/u,workdir=/tmp/w,userxattr /tmp/m";
    match unshare(&["--user", "--map-root-user", "--mount", "sh", "-c", script]) {
        Ok(()) => LayerState::On,
        Err(why) => LayerState::Missing(format!(
            "overlays cannot be mounted in a user namespace ({why})"
        )),
    }
}

/// The flags of `unshare` that do not work here, each with the reason.
type Refused = Vec<(&'static str, String)>;

fn probe_namespaces() -> Refused {
    let flags: Vec<&'static str> = LAYERS.iter().filter_map(|row| row.2).collect();
    // All at once is the usual answer; only when that fails, one by one.
    let mut all = flags.clone();
    all.extend(["--fork", "true"]);
    if unshare(&all).is_ok() {
        return Vec::new();
    }
    flags
        .into_iter()
        .filter_map(|flag| {
            // Without root the others need a user namespace to be made in.
            let outcome = unshare(&["--user", flag, "--fork", "true"]);
            outcome.err().map(|why| (flag, why))
        })
        .collect()
}

fn namespace(refused: &Refused, flag: &str) -> LayerState {
    match refused.iter().find(|(name, _)| *name == flag) {
        None => LayerState::On,
        Some((_, why)) => LayerState::Missing(format!(
            "the kernel does not let us make one ({why}): allow user namespaces, for example by \
             sysctl kernel.unprivileged_userns_clone=1 or kernel.apparmor_restrict_unprivileged_userns=0"
        )),
    }
}

fn unshare(arguments: &[&str]) -> Result<(), String> {
    let output = host::command("unshare")
        .args(arguments)
        .output()
        .map_err(|error| {
            format!("the program unshare of the package util-linux did not start: {error}")
        })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().next().unwrap_or("it said nothing");
    Err(line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layer_has_one_word() {
        for name in LayerName::all() {
            assert_eq!(LayerName::parse(name.as_str()), Some(name));
        }
        assert_eq!(LayerName::parse("armour"), None);
    }

    #[test]
    fn a_required_layer_that_is_half_there_is_not_enough() {
        let layer = |name, state| Layer {
            name,
            state,
            costs: "It costs.",
        };
        let layers = [
            layer(LayerName::Seccomp, LayerState::On),
            layer(
                LayerName::Landlock,
                LayerState::Partial("the kernel is old".into()),
            ),
            layer(
                LayerName::Overlay,
                LayerState::Missing("there is none".into()),
            ),
        ];
        let required = [LayerName::Seccomp, LayerName::Landlock];
        assert_eq!(
            unmet(&layers, &required),
            ["The layer landlock is required, but the kernel is old. It costs."]
        );
    }

    #[test]
    fn the_layers_of_this_machine_are_found_out_by_trying() {
        if !crate::testing::is_root_or_skip("layers") {
            return;
        }
        let cgroups = Cgroups::open(&crate::testing::own_prefix());
        let begun = std::time::Instant::now();
        let refused = probe_namespaces();
        println!("namespaces took {:?}", begun.elapsed());
        assert_eq!(refused, []);
        for layer in probe(&cgroups, &Networks::none("it is not tried here")) {
            println!("{}: {:?}", layer.name, layer.state);
            let is_missing =
                matches!(&layer.state, LayerState::Missing(why) if why == "it is not tried here");
            assert_eq!(is_missing, layer.name == LayerName::EgressFilter);
        }
        println!("all took {:?}", begun.elapsed());
        cgroups.remove();
    }

    #[test]
    fn what_the_kernel_refuses_is_told_with_its_reason() {
        let why = unshare(&["--user", "--no-such-flag"]).unwrap_err();
        assert!(why.contains("no-such-flag"), "{why}");
        let refused = vec![(
            "--net",
            "unshare failed: Operation not permitted".to_owned(),
        )];
        assert_eq!(namespace(&refused, "--pid"), LayerState::On);
        let LayerState::Missing(why) = namespace(&refused, "--net") else {
            panic!("it is not there");
        };
        assert!(why.contains("Operation not permitted"), "{why}");
    }
}
