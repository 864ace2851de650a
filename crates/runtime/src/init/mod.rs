//! The other side: what our executable is when it was started again as the helper.
//!
//! The helper is one small process with one thread. For every sandbox it gives [birth](birth) to a process in new
//! namespaces, which [prepares](prepare) itself, gives up every right, starts the [program] and then [serves](serve) as
//! the init of the sandbox. What a birth costs in memory is mostly shared with the helper.
//!
//! An init never outlives the server: its channel ends with the server, then it ends too, and with the first process of
//! a process namespace the kernel ends all others.

mod birth;
mod helper;
mod loopback;
mod prepare;
mod program;
mod rights;
mod serve;
mod signals;

use std::process::ExitCode;

/// The hidden first argument.
const ARGUMENT: &str = "sandbox";

/// Whether this process was started as the helper; then it has served as that, and is to end with this code. `main`
/// calls it before anything else: there must be no other thread.
pub fn take_over() -> Option<ExitCode> {
    let is_ours = std::env::args_os()
        .nth(1)
        .is_some_and(|argument| argument == ARGUMENT);
    is_ours.then(|| match helper::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    })
}
