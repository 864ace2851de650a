//! Servers with something to lose, and people who write all the time.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use pilvi_e2e::api::{Backend, text};
use pilvi_e2e::child::{Client, Ended};
use pilvi_e2e::cli::Cli;
use pilvi_e2e::http::{Reply, Request};
use pilvi_e2e::line::Line;
use pilvi_e2e::process;
use pilvi_e2e::server::{Options, Server};
use serde_json::{Value, json};

pub(crate) const SOON: Duration = Duration::from_secs(120);
/// Objects that one writer makes at most; fewer than fit on one page.
const OBJECTS_MAX: u64 = 900;

#[track_caller]
pub(crate) fn start(data: &Path) -> Server {
    Server::start(&Options {
        data: Some(data.to_owned()),
        ..Options::serve()
    })
}

/// `pilvi <words>` without a server.
#[track_caller]
pub(crate) fn pilvi(words: &[&str]) -> Ended {
    let mut command = Command::new(process::binary());
    command.args(words).env_remove("PILVI_DATA");
    Client::start(&format!("pilvi {}", words.join(" ")), &mut command).ended(SOON)
}

/// The same, which ends well.
#[track_caller]
pub(crate) fn pilvi_well(words: &[&str]) -> Ended {
    let ended = pilvi(words);
    assert!(ended.status.success(), "{}", ended.report());
    ended
}

/// What `pilvi backup verify --json` says of a file.
#[track_caller]
pub(crate) fn verified(file: &Path) -> Value {
    let ended = pilvi_well(&["backup", "verify", name(file), "--json"]);
    serde_json::from_str(&ended.lines.join("\n")).unwrap()
}

#[track_caller]
pub(crate) fn name(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Backs an instance up into a new file.
#[track_caller]
pub(crate) fn back_up(cli: &Cli, id: &str, folder: &Path) -> PathBuf {
    let file = folder.join(format!(
        "{id}.{}.tar",
        fs::read_dir(folder).unwrap().count()
    ));
    cli.run(&["backup", "create", "--instance", id, name(&file)]);
    file
}

/// Restores an instance; returns the reply.
#[track_caller]
pub(crate) fn restore(cli: &Cli, file: &Path, words: &[&str]) -> Value {
    cli.json(&[&["backup", "restore", name(file)], words].concat())
}

/// Sends an archive as it is.
#[track_caller]
pub(crate) fn send_archive(server: &Server, bytes: &[u8], query: &str) -> Reply {
    let cloud = server.cloud();
    let path = format!("/v1/accounts/{}/instances/restore{query}", cloud.account_id);
    cloud.send(Request::post(path).body(bytes))
}

/// The backend with this id, with its first security token.
#[track_caller]
pub(crate) fn backend_of(server: &Server, id: &str) -> Backend {
    let path = format!("/v1/instances/{id}/authorizations");
    let tokens = server.cloud().send(Request::get(path)).must_be(200);
    Backend::new(server.http, id, &text(&tokens, "/results/0/access_token"))
}

/// The ids of all instances.
#[track_caller]
pub(crate) fn instances(server: &Server) -> Vec<String> {
    let cloud = server.cloud();
    let path = format!("/v1/accounts/{}/instances", cloud.account_id);
    let list = cloud.send(Request::get(path)).must_be(200);
    let list = list["results"].as_array().unwrap();
    list.iter().map(|instance| text(instance, "/id")).collect()
}

/// People who write one object after the other, each of a type of their own, numbered from 1.
pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Vec<AtomicU64>>,
    threads: Vec<JoinHandle<()>>,
}

impl Writers {
    pub(crate) fn start(backend: &Backend, http: std::net::SocketAddr, count: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged: Arc<Vec<AtomicU64>> =
            Arc::new((0..count).map(|_| AtomicU64::new(0)).collect());
        let threads = (0..count).map(|writer| {
            let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
            let id = backend.id.clone();
            std::thread::spawn(move || {
                let mut line = Line::to(http);
                for number in 1..=OBJECTS_MAX {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let body = json!({"number": number, "filler": "x".repeat(300)});
                    let request = Request::post(format!("/v1/objects/{}", object_type(writer)))
                        .json(&body)
                        .backend(&id);
                    let Some(reply) = line.ask(&request) else {
                        return;
                    };
                    reply.must_be(201);
                    acknowledged[writer].store(number, Ordering::SeqCst);
                }
            })
        });
        let threads = threads.collect();
        Self {
            stop,
            acknowledged,
            threads,
        }
    }

    /// How many objects of each writer were acknowledged.
    pub(crate) fn acknowledged(&self) -> Vec<u64> {
        let all = self.acknowledged.iter();
        all.map(|count| count.load(Ordering::SeqCst)).collect()
    }

    #[track_caller]
    pub(crate) fn wait_for(&self, count: u64) {
        pilvi_e2e::wait::until("everybody has written something", SOON, || {
            let all = self.acknowledged();
            all.iter()
                .all(|acknowledged| *acknowledged >= count)
                .then_some(())
        });
    }

    pub(crate) fn stop(self) -> Vec<u64> {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().unwrap();
        }
        let all = self.acknowledged.iter();
        all.map(|count| count.load(Ordering::SeqCst)).collect()
    }
}

fn object_type(writer: usize) -> String {
    format!("writer{writer}")
}

/// Expects a backend to hold what every writer wrote up to some moment: all that was acknowledged before, nothing that
/// was not asked for, and no gap. Returns the counts by type.
#[track_caller]
pub(crate) fn expect_one_moment(
    backend: &Backend,
    before: &[u64],
    after: &[u64],
) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for (writer, (before, after)) in before.iter().zip(after).enumerate() {
        let object_type = object_type(writer);
        let path = format!("/v1/objects/{object_type}?limit=1000");
        let list = backend.send_as_admin(Request::get(path)).must_be(200);
        let list = list["results"].as_array().unwrap();
        let mut numbers: Vec<u64> = list
            .iter()
            .map(|object| object["number"].as_u64().unwrap())
            .collect();
        numbers.sort_unstable();
        let count = numbers.len() as u64;
        assert!(numbers.iter().copied().eq(1..=count), "{numbers:?}");
        // One more may be on its way.
        assert!(
            (*before..=after + 1).contains(&count),
            "{before} {count} {after}"
        );
        counts.insert(format!("objects.{object_type}"), count);
    }
    counts
}

/// The files in a folder, by name.
#[track_caller]
pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        entries => entries.unwrap(),
    };
    let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}
