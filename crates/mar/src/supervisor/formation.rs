//! Which processes there are to be.

use std::collections::BTreeSet;

use pilvi_model::app::{ProcessName, ProcessType, ProcessTypes};

/// The wanted count of each type.
pub(super) type Formation = Vec<(ProcessType, u32)>;

/// Every process that a formation asks for and a release has a command for.
pub(super) fn processes(formation: &Formation, types: &ProcessTypes) -> BTreeSet<ProcessName> {
    formation
        .iter()
        .filter(|(process_type, _)| types.command(process_type).is_some())
        .flat_map(|(process_type, count)| {
            (1..=*count).map(|number| ProcessName {
                process_type: process_type.clone(),
                number,
            })
        })
        .collect()
}

/// The formation that the store will have once a release with these types is current: types that stay keep their
/// counts, and of the new ones only `web` begins with a process (`mar.md` §4.8).
pub(super) fn after_release(before: &Formation, types: &ProcessTypes) -> Formation {
    types
        .types()
        .map(|process_type| {
            let kept = before.iter().find(|(known, _)| known == process_type);
            let count = kept.map_or(u32::from(process_type.is_web()), |(_, count)| *count);
            (process_type.clone(), count)
        })
        .collect()
}

/// How many web processes a formation asks for.
pub(super) fn web_count(formation: &Formation) -> u32 {
    let web = formation
        .iter()
        .find(|(process_type, _)| process_type.is_web());
    web.map_or(0, |(_, count)| *count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types(names: &[&str]) -> ProcessTypes {
        let mut types = ProcessTypes::default();
        for name in names {
            types.add(name.parse().unwrap(), "run").unwrap();
        }
        types
    }

    fn formation(counts: &[(&str, u32)]) -> Formation {
        counts
            .iter()
            .map(|(name, count)| (name.parse().unwrap(), *count))
            .collect()
    }

    #[test]
    fn the_first_release_begins_with_one_web_process() {
        let after = after_release(&Formation::new(), &types(&["worker", "web"]));
        assert_eq!(after, formation(&[("worker", 0), ("web", 1)]));
        assert_eq!(web_count(&after), 1);
    }

    #[test]
    fn a_later_release_keeps_counts_and_drops_types_that_vanish() {
        let before = formation(&[("web", 3), ("worker", 2), ("clock", 1)]);
        let after = after_release(&before, &types(&["web", "worker", "mailer"]));
        assert_eq!(
            after,
            formation(&[("web", 3), ("worker", 2), ("mailer", 0)])
        );
        let before = formation(&[("web", 0)]);
        assert_eq!(after_release(&before, &types(&["web"])), before);
    }

    #[test]
    fn processes_are_numbered_from_one() {
        let wanted = formation(&[("web", 2), ("worker", 1), ("gone", 5), ("idle", 0)]);
        let names: Vec<String> = processes(&wanted, &types(&["web", "worker", "idle"]))
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(names, ["web.1", "web.2", "worker.1"]);
    }
}
