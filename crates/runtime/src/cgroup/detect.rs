//! Which trees of control groups there are, and which of them we may write.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Ability, Kind, limits, unified};

/// The leaf that the daemon itself lives in, in a pure v2 tree.
pub(super) const DAEMON: &str = "daemon";

/// The trees that are mounted, with the group of this process in each.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mounts {
    /// v1: the top of the tree of each controller.
    pub(crate) legacy: BTreeMap<String, Tree>,
    /// v2.
    pub(crate) unified: Option<Tree>,
    /// Whether we may take a place at the top of a tree, or only below our own group.
    pub(crate) is_root: bool,
}

/// One tree as it is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tree {
    pub(crate) top: PathBuf,
    /// The group of this process; `top` itself where nobody made one.
    pub(crate) own: PathBuf,
}

impl Mounts {
    /// Reads what the kernel says of this process.
    pub(crate) fn of_this_process() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let is_root = rustix::process::geteuid().is_root();
        Self {
            is_root,
            ..Self::parse(&mounts, &groups)
        }
    }

    /// `mounts` is a `mountinfo`, `groups` the `cgroup` file of the same process.
    fn parse(mounts: &str, groups: &str) -> Self {
        let mut found = Self::default();
        for mount in mounts.lines().filter_map(Mount::parse) {
            match mount.kind {
                "cgroup2" if found.unified.is_none() => {
                    let own = own_path(groups, |controllers| controllers.is_empty());
                    found.unified = Some(mount.tree(own));
                }
                "cgroup" => {
                    for controller in mount.options.split(',') {
                        let is_it = |names: &str| names.split(',').any(|name| name == controller);
                        if let Some(own) = own_path(groups, is_it) {
                            found
                                .legacy
                                .entry(controller.to_owned())
                                .or_insert_with(|| mount.tree(Some(own)));
                        }
                    }
                }
                _ => {}
            }
        }
        found
    }
}

/// The fields of a `mountinfo` line that matter here.
struct Mount<'a> {
    root: &'a str,
    at: &'a str,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let mut after = after.split(' ');
        Some(Self {
            root: before.next()?,
            at: before.next()?,
            kind: after.next()?,
            options: after.nth(1)?,
        })
    }

    fn tree(&self, own: Option<&str>) -> Tree {
        let top = PathBuf::from(self.at);
        // Within a container the mount shows only a part of the tree.
        let below = own
            .and_then(|own| Path::new(own).strip_prefix(self.root).ok())
            .filter(|below| !below.as_os_str().is_empty());
        let own = below.map_or_else(|| top.clone(), |below| top.join(below));
        Tree { top, own }
    }
}

/// The path of the group whose list of controllers fits.
fn own_path(groups: &str, fits: impl Fn(&str) -> bool) -> Option<&str> {
    groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let controllers = parts.next()?;
        let path = parts.next()?;
        fits(controllers).then_some(path)
    })
}

/// The folder of one daemon, or of one group, in each tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Controllers {
    pub(super) memory: Option<PathBuf>,
    pub(super) pids: Option<PathBuf>,
    pub(super) cpu: Option<PathBuf>,
    pub(super) cpuacct: Option<PathBuf>,
    pub(super) freezer: Option<PathBuf>,
    /// v2: with controllers in a pure tree, without in a hybrid one.
    pub(super) unified: Option<Unified>,
    pub(super) has_swap: bool,
}

/// A folder of a v2 tree, and what the tree can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unified {
    pub(super) folder: PathBuf,
    pub(super) memory: bool,
    pub(super) pids: bool,
    pub(super) cpu: bool,
    pub(super) kill: bool,
}

impl Controllers {
    pub(super) fn can(&self, ability: Ability) -> bool {
        let unified = self.unified.as_ref();
        match ability {
            Ability::Memory => self.memory.is_some() || unified.is_some_and(|it| it.memory),
            Ability::Swap => self.has_swap,
            Ability::Pids => self.pids.is_some() || unified.is_some_and(|it| it.pids),
            Ability::Cpu => self.cpu.is_some() || unified.is_some_and(|it| it.cpu),
            Ability::Kill => unified.is_some_and(|it| it.kill),
            Ability::Freeze => self.freezer.is_some() || unified.is_some(),
        }
    }

    /// The same folder one step down, in every tree.
    pub(super) fn join(&self, name: &str) -> Self {
        let below = |folder: &Option<PathBuf>| folder.as_ref().map(|it| it.join(name));
        Self {
            memory: below(&self.memory),
            pids: below(&self.pids),
            cpu: below(&self.cpu),
            cpuacct: below(&self.cpuacct),
            freezer: below(&self.freezer),
            unified: self.unified.as_ref().map(|it| Unified {
                folder: it.folder.join(name),
                ..it.clone()
            }),
            has_swap: self.has_swap,
        }
    }

    /// The folders of the v1 trees, each once: controllers may share a tree.
    pub(super) fn legacy(&self) -> Vec<&Path> {
        let all = [
            &self.memory,
            &self.pids,
            &self.cpu,
            &self.cpuacct,
            &self.freezer,
        ];
        let mut folders: Vec<&Path> = Vec::with_capacity(all.len());
        for folder in all.into_iter().flatten() {
            if !folders.contains(&folder.as_path()) {
                folders.push(folder);
            }
        }
        folders
    }

    pub(super) fn parents(&self) -> impl Iterator<Item = &Path> {
        let unified = self.unified.as_ref().map(|it| it.folder.as_path());
        self.legacy().into_iter().chain(unified)
    }
}

/// Takes a place in every tree that lets us.
pub(super) fn claim(mounts: &Mounts, prefix: &str) -> (Kind, Controllers) {
    let limits_in_legacy = ["memory", "pids", "cpu"]
        .iter()
        .any(|name| mounts.legacy.contains_key(*name));
    if limits_in_legacy {
        return claim_legacy(mounts, prefix);
    }
    let Some(tree) = &mounts.unified else {
        return nothing("no control groups are mounted at /sys/fs/cgroup");
    };
    match unified::claim(tree, prefix, mounts.is_root) {
        Ok(found) => {
            let controllers = Controllers {
                has_swap: found.memory,
                unified: Some(found),
                ..Controllers::default()
            };
            (Kind::Unified, controllers)
        }
        Err(why) => nothing(&why),
    }
}

fn claim_legacy(mounts: &Mounts, prefix: &str) -> (Kind, Controllers) {
    let place = |tree: &Tree| {
        let parent = if mounts.is_root { &tree.top } else { &tree.own };
        let folder = parent.join(prefix);
        make_folder(&folder).then_some(folder)
    };
    let legacy = |name: &str| mounts.legacy.get(name).and_then(place);
    let memory = legacy("memory");
    let unified = mounts
        .unified
        .as_ref()
        .and_then(place)
        .map(|folder| Unified {
            memory: false,
            pids: false,
            cpu: false,
            kill: folder.join("cgroup.kill").exists(),
            folder,
        });
    let controllers = Controllers {
        has_swap: memory
            .as_ref()
            .is_some_and(|it| it.join("memory.memsw.limit_in_bytes").exists()),
        memory,
        pids: legacy("pids"),
        cpu: legacy("cpu"),
        cpuacct: legacy("cpuacct"),
        // v2 freezes and kills better, and each tree more costs time at every start.
        freezer: match unified {
            Some(_) => None,
            None => legacy("freezer"),
        },
        unified,
    };
    if controllers.legacy().is_empty() {
        return nothing(
            "only root may write control groups of v1: run Pilvi as root, or boot with pure v2",
        );
    }
    limits::bound_together(controllers.memory.as_deref(), controllers.pids.as_deref());
    let kind = match controllers.unified {
        Some(_) => Kind::Hybrid,
        None => Kind::Legacy,
    };
    (kind, controllers)
}

fn nothing(why: &str) -> (Kind, Controllers) {
    (Kind::None(why.to_owned()), Controllers::default())
}

pub(super) fn make_folder(folder: &Path) -> bool {
    folder.is_dir() || fs::create_dir(folder).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 25 0:26 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/memory rw,relatime shared:10 - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";

    #[test]
    fn controllers_that_share_a_tree_are_one_folder() {
        let groups = "4:memory:/jobs/a\n2:cpu,cpuacct:/\n1:name=systemd:/init.scope\n0::/\n";
        let mounts = Mounts::parse(HYBRID, groups);
        assert_eq!(mounts.legacy.len(), 3);
        assert_eq!(mounts.legacy["cpu"], mounts.legacy["cpuacct"]);
        assert_eq!(
            mounts.legacy["memory"].own,
            Path::new("/sys/fs/cgroup/memory/jobs/a")
        );
        assert_eq!(
            mounts.unified.unwrap().own,
            Path::new("/sys/fs/cgroup/unified")
        );
    }

    #[test]
    fn a_mount_that_shows_a_part_of_the_tree_is_followed() {
        let mounts = "9 8 0:9 /docker/ab /sys/fs/cgroup ro - cgroup2 cgroup ro,nsdelegate";
        let tree = Mounts::parse(mounts, "0::/docker/ab/inner\n")
            .unified
            .unwrap();
        assert_eq!(tree.own, Path::new("/sys/fs/cgroup/inner"));
    }

    #[test]
    fn a_line_that_is_cut_short_is_passed_over() {
        let mounts = Mounts::parse("30 25 0:26 / /x rw\n- - -\n\n", "nonsense\n0:\n");
        assert!(mounts.unified.is_none() && mounts.legacy.is_empty());
    }
}
