//! Which code an input has reached.
//!
//! When the compiler is asked for SanitizerCoverage's inline counters (`cargo xtask fuzz` does), it puts a byte into
//! one section of the program for each edge between blocks of code, lets the code count there, and says where the
//! section is before `main` starts. Without that request nobody calls [`__sanitizer_cov_8bit_counters_init`], and the
//! driver works without knowing.

use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

static START: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
static END: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());

/// Called by instrumented code before `main`, once for each unit of compilation and always with the same bounds,
/// because the linker joins the units' sections into one.
#[expect(unsafe_code, reason = "the compiler fixes the name")]
// SAFETY: nothing else defines a symbol of this name.
#[unsafe(no_mangle)]
pub extern "C" fn __sanitizer_cov_8bit_counters_init(start: *mut u8, end: *mut u8) {
    START.store(start, Ordering::Relaxed);
    END.store(end, Ordering::Relaxed);
}

/// All counters of the program, eight in a word: most are zero after most inputs. The few at the ends that fill no word
/// are left out.
fn counters() -> &'static [AtomicU64] {
    let (start, end) = (START.load(Ordering::Relaxed), END.load(Ordering::Relaxed));
    if start.is_null() {
        return &[];
    }
    let before = start.align_offset(align_of::<AtomicU64>());
    let bytes = end.addr().saturating_sub(start.addr());
    let words = bytes.saturating_sub(before) / size_of::<AtomicU64>();
    if words == 0 {
        return &[];
    }
    #[expect(unsafe_code, reason = "the counters have no other name in Rust")]
    // SAFETY: the linker put bytes of this program between the bounds, for as long as it runs; the words lie between
    // them and are aligned. They are read and written as atomics here; the code that counts in them runs on this
    // thread alone, before and after.
    unsafe {
        std::slice::from_raw_parts(start.add(before).cast(), words)
    }
}

/// What has been reached so far.
#[derive(Debug)]
pub struct Coverage {
    /// For each edge, in which orders of magnitude it has been counted, a bit each.
    seen: Vec<[u8; 8]>,
}

impl Coverage {
    /// Starts from nothing. `None`: this program does not count.
    pub fn open() -> Option<Self> {
        let counters = counters();
        (!counters.is_empty()).then(|| Self {
            seen: vec![[0; 8]; counters.len()],
        })
    }

    /// Forgets what was counted since the last call.
    pub fn restart(&self) {
        for counters in counters() {
            if counters.load(Ordering::Relaxed) != 0 {
                counters.store(0, Ordering::Relaxed);
            }
        }
    }

    /// Adds what was counted since the last call, and says whether any of it is new.
    pub fn add(&mut self) -> bool {
        let mut new = false;
        for (seen, counters) in self.seen.iter_mut().zip(counters()) {
            let counts = counters.load(Ordering::Relaxed);
            if counts != 0 {
                new |= add_word(seen, counts.to_ne_bytes());
            }
        }
        new
    }

    /// How many edges have been reached.
    pub fn edges(&self) -> usize {
        self.seen
            .iter()
            .flatten()
            .filter(|&&seen| seen != 0)
            .count()
    }
}

fn add_word(seen: &mut [u8; 8], counts: [u8; 8]) -> bool {
    let mut new = false;
    for (seen, count) in seen.iter_mut().zip(counts) {
        let bit = magnitude(count);
        new |= *seen & bit != bit;
        *seen |= bit;
    }
    new
}

/// A bit for 1, 2, 3, 4–7, 8–15, 16–31, 32–127 and more, none for 0: a loop that runs once more often is no news.
fn magnitude(count: u8) -> u8 {
    match count {
        0..=2 => count,
        3 => 1 << 2,
        4..=7 => 1 << 3,
        8..=15 => 1 << 4,
        16..=31 => 1 << 5,
        32..=127 => 1 << 6,
        _ => 1 << 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magnitudes_are_told_apart() {
        let bits = [0, 1, 2, 3, 4, 8, 16, 32, 128].map(magnitude);
        assert_eq!(bits, [0, 1, 2, 4, 8, 16, 32, 64, 128]);
        assert_eq!(magnitude(31), magnitude(16));
    }

    #[test]
    fn only_what_was_not_seen_before_is_new() {
        let mut seen = [0; 8];
        assert!(add_word(&mut seen, [0, 1, 0, 0, 0, 0, 0, 0]));
        assert!(!add_word(&mut seen, [0, 1, 0, 0, 0, 0, 0, 0]));
        assert!(add_word(&mut seen, [0, 2, 0, 0, 0, 0, 0, 0]));
        assert!(!add_word(&mut seen, [0; 8]));
        assert_eq!(seen, [0, 3, 0, 0, 0, 0, 0, 0]);
    }
}
