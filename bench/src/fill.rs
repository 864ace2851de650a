//! Puts objects into a store before it is measured.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail};

use crate::http::client::{Client, text};
use crate::peers::store::{Store, object};

/// Connections that fill a store at the same time.
const THREADS: usize = 16;

/// Stores the objects of these numbers, with so many distinct values; returns their ids, in no order.
pub(crate) fn fill(
    store: &(dyn Store + Sync),
    numbers: Range<u64>,
    distinct: u64,
) -> Result<Vec<String>> {
    let next = AtomicU64::new(numbers.start);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|_| scope.spawn(|| work(store, &next, numbers.end, distinct)))
            .collect();
        let mut ids = Vec::new();
        for worker in workers {
            match worker.join() {
                Ok(found) => ids.extend(found?),
                Err(_) => bail!("a thread that stores objects has panicked"),
            }
        }
        Ok(ids)
    })
}

fn work(store: &dyn Store, next: &AtomicU64, end: u64, distinct: u64) -> Result<Vec<String>> {
    let mut client = Client::connect(store.server().address)?;
    let mut ids = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= end {
            return Ok(ids);
        }
        let answer = client
            .ask(store.create(&object(number, distinct)))
            .with_context(|| format!("object {number} is not stored"))?;
        ids.push(text(&answer, store.id_pointer())?);
    }
}
