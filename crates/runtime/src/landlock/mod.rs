//! A second fence around the files, of the kernel's Landlock: whatever becomes visible by a fault elsewhere, programs
//! can write only where the plan says so. It also keeps signals and abstract sockets within the sandbox.

use std::io;

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, Scope,
};

/// The newest state of Landlock that this was written for. Older kernels are asked for what they know.
const KNOWN: ABI = ABI::V6;

/// Where every sandbox may write something, if the file's own mode allows it: devices, and what `/proc` tells about
/// its own processes.
const ALWAYS: [&str; 2] = ["/dev", "/proc"];

/// Puts the fence up around this process and everything that it starts. Does nothing where the kernel has no Landlock.
pub(crate) fn apply<'a>(mut writable: impl Iterator<Item = &'a str>) -> io::Result<()> {
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))
        .and_then(|rules| rules.scope(Scope::from_all(KNOWN)))
        .and_then(Ruleset::create)
        .map_err(io::Error::other)?;
    let rules = allow(rules, "/", AccessFs::from_read(KNOWN))?;
    let in_place = AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev;
    let rules = ALWAYS
        .into_iter()
        .try_fold(rules, |rules, path| allow(rules, path, in_place))?;
    let all = AccessFs::from_all(KNOWN) & !(AccessFs::MakeBlock | AccessFs::MakeChar);
    let rules = allow(rules, "/dev/shm", all)?;
    let rules = writable.try_fold(rules, |rules, path| allow(rules, path, all))?;
    rules.restrict_self().map_err(io::Error::other)?;
    Ok(())
}

fn allow(
    rules: RulesetCreated,
    path: &str,
    access: BitFlags<AccessFs>,
) -> io::Result<RulesetCreated> {
    let place = PathFd::new(path).map_err(io::Error::other)?;
    rules
        .add_rule(PathBeneath::new(place, access))
        .map_err(io::Error::other)
}
