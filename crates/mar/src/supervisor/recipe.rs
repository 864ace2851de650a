//! What the processes of an app are made from. It never changes: whatever does change makes another one.

use pilvi_model::AppId;
use pilvi_model::app::ProcessTypes;

use super::launcher::Place;
use crate::env_vars::Vars;

/// A release as it is run, on a machine and with a size.
pub(super) struct Recipe {
    pub(super) app: AppId,
    pub(super) release: u32,
    pub(super) types: ProcessTypes,
    pub(super) place: Place,
    /// What all processes of the release have in their environment: secrets too, so a recipe does not print itself.
    pub(super) vars: Vars,
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::supervisor) fn recipe() -> Recipe {
        Recipe {
            app: "mar-eu-1-ab12cd34".parse().unwrap(),
            release: 1,
            types: ProcessTypes::default(),
            place: Place {
                uid: 200_001,
                stack: "cedar-14".parse().unwrap(),
                slug: "/nowhere".into(),
                memory_bytes: 256 << 20,
            },
            vars: Vars::new(),
        }
    }
}
