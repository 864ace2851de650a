//! The one place that reads the wall clock, so that a test can set it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// Tells the time: the system's, or one that a test moves by hand.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// Present only in tests. A plain mutex: it is held for the copy of one value.
    manual: Option<Arc<Mutex<SystemTime>>>,
    /// How far it goes after the system's.
    behind: Duration,
}

impl Clock {
    /// The machine's own clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// The machine's own clock, so much behind: a data folder of long ago is opened as if it were then.
    pub fn behind(by: Duration) -> Self {
        Self {
            behind: by,
            ..Self::default()
        }
    }

    /// A clock that stands at `start` until [`Clock::advance`] moves it.
    pub fn manual(start: SystemTime) -> Self {
        Self {
            manual: Some(Arc::new(Mutex::new(start))),
            behind: Duration::ZERO,
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the call that all others are sent to"
    )]
    pub fn now(&self) -> SystemTime {
        match &self.manual {
            Some(manual) => *manual.lock().unwrap_or_else(PoisonError::into_inner),
            None => SystemTime::now() - self.behind,
        }
    }

    /// Moves a manual clock forward.
    ///
    /// # Panics
    /// On the system clock, which nobody can move.
    pub fn advance(&self, by: Duration) {
        let manual = self
            .manual
            .as_ref()
            .expect("only a manual clock can be advanced");
        *manual.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }
}
