//! What keeps apps apart, found out by trying.

use std::path::Path;

use pilvi_runtime::{LayerName, LayerState, NetworkSettings, Stacks};

use super::{Circumstances, Finding, State};

/// Layers without which no app runs at all.
const NEEDED: [LayerName; 4] = [
    LayerName::UserNamespace,
    LayerName::MountNamespace,
    LayerName::PidNamespace,
    LayerName::Overlay,
];

pub(super) fn layers(circumstances: &Circumstances) -> Vec<Finding> {
    let options = &circumstances.options.apps;
    let network = NetworkSettings {
        range: options.apps_network,
        allowed: options.apps_allow.clone(),
    };
    let prefix = format!("pilvi-doctor-{}", std::process::id());
    let layers = pilvi_runtime::survey(&prefix, &network);
    let required = |name: LayerName| {
        let words = &options.require_layers;
        words
            .iter()
            .any(|word| word == "all" || word == name.as_str())
    };
    let on = layers.iter().filter(|layer| layer.state == LayerState::On);
    let summary = format!("{} of {} layers of protection", on.count(), layers.len());
    let mut findings = vec![Finding::fine("layers", summary)];
    for layer in layers {
        let (why, worst) = match layer.state {
            LayerState::On => continue,
            LayerState::Partial(why) => (why, State::Note),
            LayerState::Missing(why) => (why, State::Warning),
        };
        let is_needed = worst == State::Warning && NEEDED.contains(&layer.name);
        let state = match is_needed || required(layer.name) {
            true => State::Fault,
            false => worst,
        };
        let mend = mend(layer.name, circumstances.is_root, &why);
        findings.push(Finding::of(
            state,
            layer.name.as_str(),
            why,
            layer.costs,
            mend,
        ));
    }
    findings
}

/// What brings a layer, where that is known.
fn mend(layer: LayerName, is_root: bool, why: &str) -> &'static str {
    if why.contains("nftables") {
        return "sudo apt-get install nftables";
    }
    if why.contains("passt") {
        return "sudo apt-get install passt";
    }
    if why.contains("/dev/net/tun") {
        return "sudo modprobe tun && sudo chmod 666 /dev/net/tun";
    }
    let is_namespace = layer.as_str().ends_with("-namespace") || layer == LayerName::Overlay;
    match layer {
        _ if is_namespace && is_contained() => {
            "Start the container with --cap-add SYS_ADMIN --cap-add NET_ADMIN --cap-add SYS_PTRACE and --security-opt \
             for each of seccomp=unconfined, apparmor=unconfined and systempaths=unconfined."
        }
        LayerName::UserNamespace if why.contains("not permitted") || why.contains("denied") => {
            "sudo sysctl kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0"
        }
        LayerName::UserNamespace => "sudo sysctl user.max_user_namespaces=65536",
        LayerName::Landlock => {
            "Add landlock to lsm= on the kernel's command line, or upgrade the kernel."
        }
        LayerName::MemoryLimit
        | LayerName::PidsLimit
        | LayerName::CpuLimit
        | LayerName::CgroupKill
            if is_root =>
        {
            "Use control groups of version 2: add systemd.unified_cgroup_hierarchy=1 cgroup_enable=memory to the \
             kernel's command line; in a container, have /sys/fs/cgroup writable."
        }
        LayerName::OwnUid
        | LayerName::MemoryLimit
        | LayerName::PidsLimit
        | LayerName::CpuLimit
        | LayerName::CgroupKill
        | LayerName::EgressFilter
            if !is_root =>
        {
            "Run the server as root, as the package's unit does."
        }
        _ => "",
    }
}

/// Whether this is a container of Docker's or Podman's.
fn is_contained() -> bool {
    let signs = ["/.dockerenv", "/run/.containerenv"];
    signs.into_iter().any(|sign| Path::new(sign).exists())
}

pub(super) fn stacks(circumstances: &Circumstances) -> Vec<Finding> {
    let stacks = Stacks::open(circumstances.data.join("stacks")).list();
    let names: Vec<_> = stacks.into_iter().map(|stack| stack.name).collect();
    vec![match names.is_empty() {
        false => Finding::fine("stacks", names.join(", ")),
        true => Finding::of(
            State::Note,
            "stacks",
            "only this machine's own programs",
            "Apps are built with what is installed here, and change when it does.",
            "pilvi stack create debian-12",
        ),
    }]
}
