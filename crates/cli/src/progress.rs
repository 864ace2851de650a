//! How far long work has come, where a terminal shows it.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::screen::Screen;

/// A bar, or nothing where nobody watches. It vanishes when the work is over, so that only the result stays.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Of bytes; `total` where it is known how many there will be.
    pub(crate) fn of_bytes(screen: &Screen<'_>, what: &'static str, total: Option<u64>) -> Self {
        let template = match total {
            Some(_) => "{msg} [{bar:30}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
            None => "{msg} {spinner} {bytes}, {bytes_per_sec}",
        };
        let style = ProgressStyle::with_template(template).expect("the template is a literal");
        let bar = ProgressBar::with_draw_target(total, target(screen));
        bar.set_style(style.progress_chars("=> "));
        bar.set_message(what);
        Self(bar)
    }

    /// Where it would stand in the way of what is printed or typed meanwhile.
    pub(crate) fn hidden() -> Self {
        Self(ProgressBar::hidden())
    }

    /// Of waiting for something that tells nothing of itself.
    pub(crate) fn of_waiting(screen: &Screen<'_>, what: &'static str) -> Self {
        let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
        let bar = ProgressBar::with_draw_target(None, target(screen));
        bar.set_style(style.expect("the template is a literal"));
        bar.set_message(what);
        if screen.is_watched() {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self(bar)
    }

    pub(crate) fn add(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn target(screen: &Screen<'_>) -> ProgressDrawTarget {
    match screen.is_watched() {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    }
}
