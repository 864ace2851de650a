//! How long sandboxes take, with nothing else of Pilvi around them: what `cargo xtask bench mar` measures beside
//! bubblewrap.
//!
//! `sandbox_start COUNT [network]` starts so many sandboxes one after the other, with a way to the internet or without.
//! Each prints a line: microseconds from the launch to the first byte that its program wrote, and to the moment at
//! which
//! nothing of it was left.
#![expect(
    clippy::print_stdout,
    reason = "this is a command: what it prints is its result"
)]

use std::error::Error;
use std::io::{PipeReader, Read as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use pilvi_runtime::{
    Door, From, Limits, Mount, NetworkSettings, Runtime, Settings, Spec, StackRoot, Stacks,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    if let Some(code) = pilvi_runtime::take_over() {
        return code;
    }
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn measure() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let count: u32 = arguments.next().ok_or("say how many")?.parse()?;
    let network = arguments.next().is_some();
    let folder = tempfile::tempdir()?;
    let lower = folder.path().join("slug");
    std::fs::create_dir(&lower)?;
    let stack = Stacks::open(folder.path().join("stacks"))
        .host()
        .map_err(|error| error.to_string())?;
    let settings = Settings {
        folder: folder.path().join("scratch"),
        helper: vec![std::env::current_exe()?.into(), "sandbox".into()],
        prefix: format!("pilvi-bench-{}", std::process::id()),
        required: Vec::new(),
        network: NetworkSettings::default(),
        doors: doors(),
    };
    let runtime = Runtime::start(settings)
        .await
        .map_err(|failure| failure.sentence())?;
    let mut outcome = Ok(());
    for number in 0..count {
        outcome = one(&runtime, number, network, &stack, &lower).await;
        if outcome.is_err() {
            break;
        }
    }
    runtime.stop().await;
    outcome
}

/// Pilvi's own, as a server has them.
fn doors() -> Vec<Door> {
    let names = ["api.localhost", "eds.localhost"];
    [80, 443]
        .map(|port| Door {
            port,
            names: names.map(str::to_owned).to_vec(),
        })
        .to_vec()
}

async fn one(
    runtime: &Runtime,
    number: u32,
    network: bool,
    stack: &StackRoot,
    lower: &Path,
) -> Outcome<()> {
    let (output, writer) = std::io::pipe()?;
    let spec = spec(number, network, stack, lower, writer.into())?;
    let launched_at = Instant::now();
    let sandbox = runtime
        .launch(spec)
        .await
        .map_err(|failure| failure.sentence())?;
    tokio::task::spawn_blocking(move || first_byte(output)).await??;
    let start = launched_at.elapsed();
    let exit = sandbox.exited().await;
    let whole = launched_at.elapsed();
    if exit.code() != 0 {
        return Err(format!("the program ended with {}", exit.code()).into());
    }
    println!("{} {}", start.as_micros(), whole.as_micros());
    Ok(())
}

/// Reads only the first: the end of the output is the end of the program.
fn first_byte(mut output: PipeReader) -> std::io::Result<()> {
    output.read_exact(&mut [0])
}

/// A sandbox as an app gets it.
fn spec(
    number: u32,
    network: bool,
    stack: &StackRoot,
    lower: &Path,
    stdout: OwnedFd,
) -> std::io::Result<Spec> {
    let slug = From::Layered {
        lower: lower.to_owned(),
        upper_bytes: 16 << 20,
    };
    let stderr = stdout.try_clone()?;
    Ok(Spec {
        name: format!("bench/web.{number}"),
        uid: 200_000,
        stack: stack.clone(),
        mounts: vec![
            mount("/app", slug),
            mount("/tmp", From::Memory { bytes: 16 << 20 }),
        ],
        argv: vec!["/usr/bin/echo".into(), "here".into()],
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        cwd: "/app".into(),
        limits: Limits::default(),
        network,
        hostname: "web-1".into(),
        stdin: None,
        stdout,
        stderr,
    })
}

fn mount(at: &str, from: From) -> Mount {
    Mount {
        at: at.into(),
        from,
    }
}
