//! Blocks of memory that are used again: a new one for each block of a file would be zeroed, mapped and unmapped each
//! time, which costs as much as reading it does.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// The size of every block.
pub(crate) const BLOCK_BYTES: usize = 256 << 10;
/// Blocks that are kept for the next reader: 8 MiB.
const IDLE_MAX: usize = 32;

/// Blocks that nobody uses at the moment.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    /// A plain mutex: held for a push or a pop.
    idle: Mutex<Vec<Box<[u8]>>>,
}

impl Pool {
    pub(crate) fn take(self: &Arc<Self>) -> Block {
        let kept = self.idle().pop();
        Block {
            bytes: kept.unwrap_or_else(|| vec![0; BLOCK_BYTES].into()),
            pool: Arc::clone(self),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Box<[u8]>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A block in use. Dropped, it is there for the next one.
pub(crate) struct Block {
    pub(crate) bytes: Box<[u8]>,
    pool: Arc<Pool>,
}

impl Block {
    /// Its first bytes, for whoever passes them on. The block comes back when all of them have been.
    pub(crate) fn first(self, count: usize) -> Bytes {
        Bytes::from_owner(self).slice(..count)
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut idle = self.pool.idle();
        if idle.len() < IDLE_MAX {
            idle.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_used_again_when_nobody_has_it_any_more() {
        let pool = Arc::new(Pool::default());
        let mut block = pool.take();
        block.bytes[..5].copy_from_slice(b"hello");
        let place = block.bytes.as_ptr();
        let bytes = block.first(5);
        assert_eq!(bytes, "hello");
        let other = pool.take();
        assert_ne!(other.bytes.as_ptr(), place);
        drop(bytes.clone());
        assert!(pool.idle().is_empty(), "somebody has it still");
        drop(bytes);
        assert_eq!(pool.take().bytes.as_ptr(), place);
        let many: Vec<_> = (0..2 * IDLE_MAX).map(|_| pool.take()).collect();
        drop(many);
        assert_eq!(pool.idle().len(), IDLE_MAX);
    }
}
