//! Buffers that are not needed at the moment.
//!
//! A connection at rest holds none, and there may be thousands of those. A busy one needs some thousand times a second,
//! and asking the allocator each time makes it return pages to the kernel and ask for them again.

use std::cell::RefCell;

use bytes::BytesMut;

/// What a new one has room for: a head, or most responses.
const BUFFER_BYTES: usize = 32 << 10;
/// What has grown larger is not kept.
const KEPT_BYTES: usize = 64 << 10;
/// How many each thread keeps.
const KEPT_MAX: usize = 64;

thread_local! {
    // A thread's own, so that nobody waits for anybody.
    static SPARE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer.
pub(crate) fn take() -> BytesMut {
    SPARE
        .with_borrow_mut(Vec::pop)
        .unwrap_or_else(|| BytesMut::with_capacity(BUFFER_BYTES))
}

/// Takes a buffer that nobody needs, and leaves one without memory.
pub(crate) fn give(buffer: &mut BytesMut) {
    let mut buffer = std::mem::take(buffer);
    buffer.clear();
    if (BUFFER_BYTES / 2..=KEPT_BYTES).contains(&buffer.capacity()) {
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < KEPT_MAX {
                spare.push(buffer);
            }
        });
    }
}
