//! The hook alone, for this crate's tests; with the word `serve` a whole server that a test can kill. It lets everybody
//! in, and its builds never end.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program of the tests fails by panicking, and tells its port"
)]

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use pilvi_base::{Secret, TaskGroup};
use pilvi_git::{
    Access, Deployer, Gatekeeper, Git, HostKey, Limits, Output, Push, Pusher, Rejected,
    Repositories, Settings, SshLimits, SshServer,
};
use pilvi_model::Result;
use tokio::net::TcpListener;

fn main() -> ExitCode {
    if let Some(code) = pilvi_git::take_over() {
        return code;
    }
    let arguments: Vec<OsString> = std::env::args_os().collect();
    match &arguments[..] {
        [program, word, folder] if word == "serve" => {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(serve(program.clone(), &PathBuf::from(folder)));
            ExitCode::SUCCESS
        }
        _ => ExitCode::FAILURE,
    }
}

async fn serve(program: OsString, folder: &Path) {
    let repositories = Repositories::open(&folder.join("mar")).unwrap();
    let settings = Settings {
        folder: folder.join("git"),
        program: vec![program],
        limits: Limits::default(),
    };
    let (everybody, tasks) = (Arc::new(Everybody), TaskGroup::new());
    let git = Git::start(
        settings,
        repositories,
        everybody.clone(),
        everybody,
        tasks.clone(),
    );
    let git = git.await.unwrap();
    let host_key = HostKey::open(&folder.join("git/host_key")).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap().port());
    SshServer::new(git, &host_key, SshLimits::default())
        .serve(listener, tasks)
        .await;
}

struct Everybody;

impl Gatekeeper for Everybody {
    fn key_holder<'a>(
        &'a self,
        fingerprint: &'a str,
        _: IpAddr,
    ) -> BoxFuture<'a, Result<Option<Pusher>>> {
        Box::pin(async { Ok(Some(Pusher::Instance(fingerprint.to_owned()))) })
    }

    fn token_holder(&self, _: Secret) -> BoxFuture<'_, Result<Option<Pusher>>> {
        Box::pin(async { Ok(None) })
    }

    fn may<'a>(&'a self, _: &'a Pusher, _: &'a str, _: Access) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

impl Deployer for Everybody {
    fn push(&self, _: Push, output: Output) -> BoxFuture<'_, std::result::Result<(), Rejected>> {
        Box::pin(async move {
            output.line("-----> Building for ever").await;
            std::future::pending().await
        })
    }
}
