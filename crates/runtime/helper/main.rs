//! What the tests run: as the helper of a runtime, as a server that is killed or has few rights, and inside sandboxes
//! as a program that tries to get out.

mod attempts;
mod server;

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = pilvi_runtime::take_over() {
        return code;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["attempt"] => attempts::all(),
        ["connect", port] => attempts::connect(port),
        ["greet", address] => attempts::greet(address),
        ["fork"] => attempts::fork_without_end(),
        ["allocate"] => attempts::allocate_without_end(),
        ["fill", folder] => attempts::fill(folder),
        ["foreign-calls"] => attempts::make_foreign_call(),
        ["serve", folder, prefix, rest @ ..] => server::serve(folder, prefix, rest),
        _ => return ExitCode::FAILURE,
    }
    ExitCode::SUCCESS
}
