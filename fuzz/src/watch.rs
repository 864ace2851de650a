//! Somebody who looks at the clock while an input is tried: code that never comes back cannot say so itself.

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The input that is being tried, and since when.
type Current = Arc<Mutex<Option<(Instant, Vec<u8>)>>>;

/// Watches until it is dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    current: Current,
    /// Dropping it ends the watching thread.
    _end: SyncSender<()>,
}

impl Watch {
    /// Calls `alarm` with the input, again and again, when one is tried for longer than `patience`.
    pub(crate) fn start(patience: Duration, alarm: impl Fn(&[u8]) + Send + 'static) -> Self {
        let current = Current::default();
        let (end, ended) = sync_channel(0);
        std::thread::spawn({
            let current = current.clone();
            move || {
                while ended.recv_timeout(patience / 4) == Err(RecvTimeoutError::Timeout) {
                    let current = current.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some((since, input)) = &*current
                        && since.elapsed() > patience
                    {
                        alarm(input);
                    }
                }
            }
        });
        Self { current, _end: end }
    }

    /// An input begins.
    pub(crate) fn begin(&self, input: &[u8]) {
        self.set(Some((Instant::now(), input.to_vec())));
    }

    /// It has come back.
    pub(crate) fn end(&self) {
        self.set(None);
    }

    fn set(&self, to: Option<(Instant, Vec<u8>)>) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_that_does_not_come_back_is_named() {
        let (alarm, alarmed) = sync_channel(1);
        let watch = Watch::start(Duration::from_millis(20), move |input| {
            let _ = alarm.try_send(input.to_vec());
        });
        watch.begin(b"quick");
        watch.end();
        watch.begin(b"endless");
        let named = alarmed.recv_timeout(Duration::from_secs(30)).unwrap();
        assert_eq!(named, b"endless");
    }
}
