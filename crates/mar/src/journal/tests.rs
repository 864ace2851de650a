use std::fs::{self, File};
use std::io::Write;
use std::time::Duration;

use super::*;

const APP: &str = "mar-eu-1-ab12cd34";

fn app() -> AppId {
    APP.parse().unwrap()
}

struct World {
    folder: tempfile::TempDir,
    journal: Journal,
}

fn world() -> World {
    world_with(Settings {
        flood: Flood {
            lines_max: 1_000_000,
            bytes_max: 1 << 30,
            ..Flood::default()
        },
        ..Settings::default()
    })
}

fn world_with(settings: Settings) -> World {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), Clock::system(), settings).unwrap();
    World { folder, journal }
}

fn page(offset: usize, limit: usize) -> Page {
    Page {
        offset,
        limit,
        filter: Filter::default(),
    }
}

fn texts(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.text.as_str()).collect()
}

fn put(journal: &Journal, stream: Stream, process: &str, text: &str) {
    assert_eq!(
        journal.append_output(&app(), stream, process, text.as_bytes()),
        Taken::Yes
    );
}

#[tokio::test]
async fn a_page_counts_from_the_newest_and_reads_oldest_first() {
    let World {
        journal,
        folder: _folder,
    } = world();
    for number in 0..10 {
        put(&journal, Stream::Stdout, "web.1", &number.to_string());
    }
    assert_eq!(
        texts(&journal.read(&app(), page(0, 3)).await.unwrap()),
        ["7", "8", "9"]
    );
    assert_eq!(
        texts(&journal.read(&app(), page(3, 2)).await.unwrap()),
        ["5", "6"]
    );
    assert_eq!(
        texts(&journal.read(&app(), page(8, 5)).await.unwrap()),
        ["0", "1"]
    );
    assert!(journal.read(&app(), page(10, 5)).await.unwrap().is_empty());
    assert!(journal.read(&app(), page(0, 0)).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_page_is_filtered_by_stream_and_process() {
    let World {
        journal,
        folder: _folder,
    } = world();
    put(&journal, Stream::Stdout, "web.1", "a");
    put(&journal, Stream::Stderr, "web.2", "b");
    put(&journal, Stream::Stdout, "worker.1", "c");
    put(&journal, Stream::Stdout, "web.10", "d");
    journal.say(&app(), "web.1", "e");
    for (stream, process, expected) in [
        (Some(Stream::Stdout), None, &["a", "c", "d"][..]),
        (None, Some("web.1"), &["a", "e"]),
        (None, Some("web"), &["a", "b", "d", "e"]),
        (Some(Stream::Stderr), Some("web.2"), &["b"]),
        (Some(Stream::Router), None, &[]),
    ] {
        let filter = Filter {
            stream,
            process: process.map(str::to_owned),
        };
        let page = Page {
            offset: 0,
            limit: 100,
            filter,
        };
        assert_eq!(texts(&journal.read(&app(), page).await.unwrap()), expected);
    }
}

#[tokio::test]
async fn a_journal_is_there_again_after_a_kill_that_tore_its_last_line() {
    let World { journal, folder } = world();
    put(&journal, Stream::Stdout, "web.1", "kept");
    assert_eq!(journal.read(&app(), page(0, 9)).await.unwrap().len(), 1);
    let file = folder.path().join(APP).join("log").join("00000001.ndjson");
    drop(journal);
    let mut file = File::options().append(true).open(file).unwrap();
    file.write_all(b"{\"t\":1,\"s\":\"stdout\",\"p\":\"web.1\",\"l\":\"to")
        .unwrap();

    let journal = Journal::open(folder.path(), Clock::system(), Settings::default()).unwrap();
    put(&journal, Stream::Stdout, "web.1", "next");
    assert_eq!(
        texts(&journal.read(&app(), page(0, 9)).await.unwrap()),
        ["kept", "next"]
    );
}

#[tokio::test]
async fn what_was_put_in_is_written_when_the_last_handle_goes() {
    let World { journal, folder } = world();
    put(&journal, Stream::Stdout, "web.1", "last words");
    drop(journal);
    let file = folder.path().join(APP).join("log").join("00000001.ndjson");
    assert!(fs::read_to_string(file).unwrap().contains("last words"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn following_under_load_has_no_gap_and_no_double() {
    const LINES: usize = 50_000;
    let World {
        journal,
        folder: _folder,
    } = world();
    let writer = std::thread::spawn({
        let journal = journal.clone();
        move || {
            for number in 0..LINES {
                put(&journal, Stream::Stdout, "web.1", &number.to_string());
                if number % 500 == 0 {
                    std::thread::yield_now();
                }
            }
        }
    });
    let mut seen_live = 0;
    for _ in 0..20 {
        let mut following = journal.follow(&app(), page(0, 50)).await.unwrap();
        let mut numbers: Vec<usize> = following
            .page
            .iter()
            .map(|entry| entry.text.parse().unwrap())
            .collect();
        while numbers.len() < 500 {
            let next =
                tokio::time::timeout(Duration::from_millis(500), following.live.recv()).await;
            // It has ended, or this reader was too slow and was told so.
            let Ok(Some(entry)) = next else { break };
            let Ok(number) = entry.text.parse() else {
                break;
            };
            numbers.push(number);
            seen_live += 1;
        }
        for pair in numbers.windows(2) {
            assert_eq!(pair[0] + 1, pair[1]);
        }
    }
    writer.join().unwrap();
    assert!(seen_live > 0);
}

#[tokio::test]
async fn an_app_that_floods_is_bounded_and_one_line_says_so() {
    let flood = Flood {
        window: Duration::from_millis(200),
        lines_max: 10,
        bytes_max: 1 << 20,
    };
    let World {
        journal,
        folder: _folder,
    } = world_with(Settings {
        flood,
        ..Settings::default()
    });
    let mut following = journal.follow(&app(), page(0, 0)).await.unwrap();
    for number in 0..1000 {
        journal.append_output(
            &app(),
            Stream::Stdout,
            "web.1",
            number.to_string().as_bytes(),
        );
    }
    let mut told = 0;
    let summary = loop {
        let entry = following.live.recv().await.unwrap();
        if entry.stream == Stream::System {
            break entry.text;
        }
        told += 1;
    };
    assert!(told < 100, "{told}");
    assert!(
        summary.starts_with(&format!("dropped {} lines", 1000 - told)),
        "{summary}, {told}"
    );
}

#[tokio::test]
async fn a_removed_journal_leaves_nothing_and_does_not_come_back() {
    let World { journal, folder } = world();
    put(&journal, Stream::Stdout, "web.1", "x");
    let mut following = journal.follow(&app(), page(0, 10)).await.unwrap();
    journal.remove(&app()).await.unwrap();
    assert!(following.live.recv().await.is_none());
    assert_eq!(
        journal.append_output(&app(), Stream::Stdout, "web.1", b"late"),
        Taken::Dropped
    );
    assert!(!folder.path().join(APP).join("log").exists());
    journal.remove(&app()).await.unwrap();
}

#[tokio::test]
async fn the_number_of_those_who_follow_is_bounded() {
    let World {
        journal,
        folder: _folder,
    } = world();
    let mut following = Vec::new();
    let error = loop {
        match journal.follow(&app(), page(0, 1)).await {
            Ok(one) => following.push(one),
            Err(error) => break error,
        }
        assert!(following.len() < 1000);
    };
    assert_eq!(error.kind, pilvi_model::Kind::OverLimit);
    following.pop();
    journal.follow(&app(), page(0, 1)).await.unwrap();
}

#[tokio::test]
async fn a_disk_that_refuses_costs_the_lines_and_nothing_else() {
    let World { journal, folder } = world();
    // A file where the app's folder should be: no segment can be made.
    fs::write(folder.path().join(APP), b"in the way").unwrap();
    put(&journal, Stream::Stdout, "web.1", "lost");
    assert!(journal.read(&app(), page(0, 10)).await.is_err());
    fs::remove_file(folder.path().join(APP)).unwrap();
    put(&journal, Stream::Stdout, "web.1", "kept");
    assert!(texts(&journal.read(&app(), page(0, 10)).await.unwrap()).contains(&"kept"));
}

#[tokio::test]
async fn a_page_of_a_full_journal_is_read_quickly_whatever_is_asked_for() {
    let World { journal, folder } = world();
    let text = "x".repeat(150);
    for number in 0..60_000 {
        let stream = if number == 59_000 {
            Stream::Stderr
        } else {
            Stream::Stdout
        };
        put(&journal, stream, "web.1", &format!("{number} {text}"));
    }
    let rare = Filter {
        stream: Some(Stream::Stderr),
        process: None,
    };
    for (wanted, found) in [
        (page(0, 100), 100),
        (page(30_000, 1000), 1000),
        (page(1_000_000, 100), 0),
        (
            Page {
                offset: 0,
                limit: 100,
                filter: rare,
            },
            1,
        ),
    ] {
        let begun = std::time::Instant::now();
        assert_eq!(
            journal.read(&app(), wanted.clone()).await.unwrap().len(),
            found
        );
        println!("{:?} for {wanted:?}", begun.elapsed());
        assert!(begun.elapsed() < Duration::from_secs(2));
    }
    let files = fs::read_dir(folder.path().join(APP).join("log")).unwrap();
    assert_eq!(files.count(), 10);
}
