//! What every request asks, as it was looked up lately: who holds a token, and what a member may do.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pilvi_model::{AccountId, PersonId};

use super::Role;
use super::tokens::Found;

/// Answers that are remembered at the same time. When there are more, all are looked up again.
const KNOWN_MAX: usize = 16_384;
const KNOWN_FOR: Duration = Duration::from_secs(1);

/// Who holds the token with a digest.
pub(crate) type KnownHolders = Known<[u8; 32], Found>;

/// What a member may do in an account.
pub(crate) type KnownRoles = Known<(AccountId, PersonId), Role>;

/// Remembers answers while nothing is written to the file that gave them.
pub(crate) struct Known<K, V>(Mutex<Answers<K, V>>);

struct Answers<K, V> {
    /// How often the file had been changed when the answers were read.
    changes: u64,
    by_question: HashMap<K, (Instant, V)>,
}

impl<K, V> Default for Known<K, V> {
    fn default() -> Self {
        Self(Mutex::new(Answers {
            changes: 0,
            by_question: HashMap::new(),
        }))
    }
}

impl<K: Eq + Hash, V: Clone> Known<K, V> {
    /// The answer, if it was read from the file as it still is.
    pub(super) fn recall(&self, question: &K, changes: u64) -> Option<V> {
        let known = self.lock();
        if known.changes != changes {
            return None;
        }
        let (read_at, answer) = known.by_question.get(question)?;
        (read_at.elapsed() < KNOWN_FOR).then(|| answer.clone())
    }

    /// `changes` is the file's count from before the answer was read.
    pub(super) fn remember(&self, question: K, changes: u64, answer: V) {
        let mut known = self.lock();
        if known.changes > changes {
            return;
        }
        if known.changes < changes || known.by_question.len() >= KNOWN_MAX {
            known.by_question.clear();
            known.changes = changes;
        }
        known.by_question.insert(question, (Instant::now(), answer));
    }

    fn lock(&self) -> MutexGuard<'_, Answers<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, V> fmt::Debug for Known<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Known")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Known = super::Known<[u8; 32], String>;

    fn holder(id: &str) -> String {
        id.to_owned()
    }

    #[test]
    fn what_was_read_before_a_change_is_forgotten() {
        let known = Known::default();
        known.remember([1; 32], 7, holder("a"));
        assert_eq!(known.recall(&[1; 32], 7), Some(holder("a")));
        assert_eq!(known.recall(&[2; 32], 7), None);
        assert_eq!(known.recall(&[1; 32], 8), None);

        known.remember([2; 32], 8, holder("b"));
        // This reader was overtaken by the change.
        known.remember([1; 32], 7, holder("a"));
        assert_eq!(known.recall(&[1; 32], 8), None);
        assert_eq!(known.recall(&[2; 32], 8), Some(holder("b")));
    }

    #[test]
    fn there_are_not_more_than_fit() {
        let known = Known::default();
        for number in 0..=KNOWN_MAX {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&number.to_le_bytes());
            known.remember(digest, 1, holder("a"));
        }
        assert_eq!(known.lock().by_question.len(), 1);
    }
}
