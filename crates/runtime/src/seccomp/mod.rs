//! Which system calls programs in a sandbox may make.
//!
//! Two filters, one above the other. The lower one knows the calls that are [allowed]; to any other the kernel answers
//! as if it had never heard of it (`ENOSYS`), which is also what programs expect of a kernel that is older than they.
//! The upper one [forbids] (`EPERM`) what would be allowed by its name but not with these arguments, and what programs
//! know how to be refused. Calls that both allow whatever their arguments cost nothing: the kernel remembers them.
//!
//! `clone3` is unknown on purpose: its flags lie in memory, where no filter can read them. C libraries then use
//! `clone`.
//!
//! [allowed]: allowed
//! [forbids]: forbidden

mod allowed;
mod forbidden;

use std::collections::BTreeMap;
use std::io;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, SeccompRule, TargetArch};

/// Both filters, ready to be put on.
#[derive(Clone)]
pub(crate) struct Filters {
    allowed: BpfProgram,
    forbidden: BpfProgram,
}

impl Filters {
    /// Compiles them. The helper does it once; what is born from it shares the result.
    pub(crate) fn compile() -> io::Result<Self> {
        let allowed = allowed::calls()
            .into_iter()
            .map(|call| (call, Vec::new()))
            .collect();
        let unknown = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
        let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
        Ok(Self {
            allowed: compile(allowed, unknown, SeccompAction::Allow)?,
            forbidden: compile(
                forbidden::rules().map_err(other)?,
                SeccompAction::Allow,
                refused,
            )?,
        })
    }

    /// Puts them on this thread and everything that it starts, for good. From then on no program can gain rights.
    pub(crate) fn apply(&self) -> io::Result<()> {
        seccompiler::apply_filter(&self.allowed).map_err(other)?;
        // The kernel takes the answer of the filter that came last when both refuse.
        seccompiler::apply_filter(&self.forbidden).map_err(other)
    }
}

fn compile(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    on_match: SeccompAction,
) -> io::Result<BpfProgram> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH).map_err(other)?;
    let filter = SeccompFilter::new(rules, otherwise, on_match, architecture).map_err(other)?;
    filter.try_into().map_err(other)
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::other(error)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_filters_fit_into_the_kernel() {
        let filters = Filters::compile().unwrap();
        for program in [&filters.allowed, &filters.forbidden] {
            assert!((1..4096).contains(&program.len()), "{}", program.len());
        }
    }

    #[test]
    fn no_call_is_allowed_twice_and_none_that_is_forbidden_whole() {
        let calls = allowed::calls();
        let allowed: BTreeSet<i64> = calls.iter().copied().collect();
        assert_eq!(allowed.len(), calls.len());
        let rules = forbidden::rules().unwrap();
        let both: Vec<_> = rules
            .iter()
            .filter(|(call, rules)| rules.is_empty() && allowed.contains(call))
            .collect();
        assert!(both.is_empty(), "{both:?}");
    }

    #[test]
    fn what_has_hurt_sandboxes_is_not_allowed() {
        let allowed: BTreeSet<i64> = allowed::calls().into_iter().collect();
        for call in [
            libc::SYS_bpf,
            libc::SYS_clone3,
            libc::SYS_io_uring_setup,
            libc::SYS_keyctl,
            libc::SYS_kexec_load,
            libc::SYS_mount,
            libc::SYS_open_by_handle_at,
            libc::SYS_perf_event_open,
            libc::SYS_process_vm_writev,
            libc::SYS_ptrace,
            libc::SYS_setns,
            libc::SYS_unshare,
            libc::SYS_userfaultfd,
        ] {
            assert!(!allowed.contains(&call), "call {call}");
        }
    }
}
