//! `bench search`: finding objects by their words, and what being searched costs those who write.
//!
//! The peer is PostgreSQL with a stored `tsvector` and a GIN index, asked in SQL by its own `pgbench`: no HTTP, no
//! token, no JSON to put together. Pilvi is asked over HTTP as its users ask it, so its figures include all of that.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::eds::{Extent, add_outcome, load, scattered};
use crate::http::client::Client;
use crate::http::request::{Request, encode};
use crate::install;
use crate::options::Options;
use crate::peers::pilvi_store::PilviStore;
use crate::peers::postgresql::PostgreSql;
use crate::peers::store::Store as _;
use crate::report::{Better, Metric, Report};
use crate::world::World;

const PILVI: &str = "pilvi";
const POSTGRESQL: &str = "postgresql tsvector, in SQL";
/// Results of a search.
const ROWS: u64 = 20;
/// Words that are used at all, and words of a text.
const VOCABULARY: f64 = 30_000.0;
const WORDS: u64 = 70;
/// So many different words are in so many objects each.
const COMMON: u64 = 10;
const INDEXED_WITHIN: Duration = Duration::from_secs(600);

/// What is searched for.
#[derive(Clone, Copy, Debug)]
enum Case {
    /// A word of [`ROWS`] objects.
    Rare,
    /// A word of every tenth object; all of them are ranked.
    Common,
    /// That, and one of the words that nearly every object has.
    Both,
    /// Words that begin like this: about a hundred.
    Beginning,
    /// Words that end like this.
    End,
}

const CASES: [Case; 5] = [
    Case::Rare,
    Case::Common,
    Case::Both,
    Case::Beginning,
    Case::End,
];

impl Case {
    fn name(self) -> &'static str {
        match self {
            Self::Rare => "rare word",
            Self::Common => "common word",
            Self::Both => "two words",
            Self::Beginning => "beginning of words",
            Self::End => "end of words",
        }
    }

    /// The phrase of this number.
    fn phrase(self, number: u64, objects: u64) -> String {
        let rare = scattered(number, objects / ROWS);
        let common = number % COMMON;
        match self {
            Self::Rare => format!("rare{rare}"),
            Self::Common => format!("common{common}"),
            Self::Both => format!("common{common} AND {}", word(1)),
            Self::Beginning => format!("rare{}*", 10 + number % 30),
            Self::End => format!("*are{rare}"),
        }
    }

    /// The same for `pgbench`, with `:rare` and `:common` for what changes; `None`: PostgreSQL has no such search.
    fn tsquery(self) -> Option<String> {
        Some(match self {
            Self::Rare => "'rare' || :rare".to_owned(),
            Self::Common => "'common' || :common".to_owned(),
            Self::Both => format!("'common' || :common || ' & {}'", word(1)),
            Self::Beginning => "'rare' || (10 + :rare % 30) || ':*'".to_owned(),
            Self::End => return None,
        })
    }
}

pub(crate) fn run(world: &World, options: &Options) -> Result<Report> {
    let mut report = Report::new("search");
    let columns = options.available(
        &mut report,
        &[PILVI, POSTGRESQL],
        |column| column,
        |column| match column {
            POSTGRESQL => install::postgresql().map(drop),
            _ => Ok(()),
        },
    );
    report.columns(columns.iter().copied());
    let (objects, seconds) = if options.quick {
        (2_000, 1)
    } else {
        (100_000, 5)
    };
    let extent = Extent {
        objects,
        distinct: objects / ROWS,
        warm_up: Duration::from_secs(1),
        length: Duration::from_secs(seconds),
    };
    report.note(format!(
        "{objects} objects, each with a text of {WORDS} words of a vocabulary of {VOCABULARY}; the {ROWS} that fit \
         best, with their texts"
    ));
    report.note("PostgreSQL is asked in SQL by pgbench, with as many connections; Pilvi over HTTP with a token");
    for round in 1..=options.rounds() {
        for column in &columns {
            options.progress(&format!("search: round {round}, {column}"));
            let outcome = match *column {
                PILVI => of_pilvi(world, &extent, &mut report),
                _ => of_postgresql(world, &extent, &mut report),
            };
            report.note_failure(column, "search", outcome);
        }
    }
    Ok(report)
}

/// A word of the vocabulary: the first are the frequent ones.
fn word(rank: u64) -> String {
    const SYLLABLES: [&str; 16] = [
        "ka", "le", "mi", "no", "pu", "ra", "se", "ti", "vo", "ya", "ho", "ju", "ki", "la", "me",
        "nu",
    ];
    let mut word = String::new();
    let mut rest = rank + 16;
    while rest > 0 {
        word.push_str(SYLLABLES[usize::try_from(rest % 16).unwrap_or(0)]);
        rest /= 16;
    }
    word
}

/// A text as people write: few words are in most texts and most are in few.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank is small and positive"
)]
fn text(number: u64, objects: u64) -> String {
    let mut text = String::new();
    for place in 0..WORDS {
        let chance = scattered(number * WORDS + place, 1 << 30) as f64 / (1_u64 << 30) as f64;
        let _ = write!(text, "{} ", word(VOCABULARY.powf(chance) as u64));
    }
    let _ = write!(
        text,
        "common{} rare{}",
        number % COMMON,
        number % (objects / ROWS)
    );
    text
}

fn object(number: u64, objects: u64) -> Value {
    json!({"title": format!("Object {number}"), "number": number, "text": text(number, objects)})
}

fn of_pilvi(world: &World, extent: &Extent, report: &mut Report) -> Result<()> {
    let store = PilviStore::start(world)?;
    fill(&store, extent.objects)?;
    let creates = |case: &str, report: &mut Report| -> Result<()> {
        // Words that no search asks for, so that all find what they found before.
        let mut request = |number| {
            let text = text(number, extent.objects)
                .replace("rare", "seldom")
                .replace("common", "usual");
            let object = json!({"title": format!("New {number}"), "number": number, "text": text});
            store.create(&object).into_bytes()
        };
        let address = store.server().address;
        let outcome = load(address, store.trees(), extent, &mut request)?;
        add_outcome(report, PILVI, case, outcome);
        Ok(())
    };
    creates("create, not searched", report)?;
    let started = Instant::now();
    wait_until_indexed(&store)?;
    let made = Metric {
        case: "first search".to_owned(),
        name: "until it is answered",
        unit: "s",
        better: Better::Low,
    };
    report.add(PILVI, made, started.elapsed().as_secs_f64());
    for case in CASES {
        check(&store, case, extent.objects)?;
        let mut request =
            |number| search(&store, &case.phrase(number, extent.objects)).into_bytes();
        let address = store.server().address;
        let outcome = load(address, store.trees(), extent, &mut request)?;
        add_outcome(report, PILVI, case.name(), outcome);
    }
    creates("create, searched", report)?;
    let started = Instant::now();
    wait_until_indexed(&store)?;
    let caught_up = Metric {
        case: "search after that".to_owned(),
        name: "until it is answered",
        unit: "s",
        better: Better::Low,
    };
    report.add(PILVI, caught_up, started.elapsed().as_secs_f64());
    Ok(())
}

fn search(store: &PilviStore, phrase: &str) -> Request {
    let search = encode(&json!({ "phrase": phrase }).to_string());
    let target = format!("/v1/search?objectTypes=objects.items&search={search}&limit={ROWS}");
    store.backend.authorized(Request::get(&target))
}

/// Asks until there is an answer: the first search has the index made, and is refused while that takes long.
fn wait_until_indexed(store: &PilviStore) -> Result<()> {
    let mut client = Client::connect(store.server().address)?;
    let deadline = Instant::now() + INDEXED_WITHIN;
    while Instant::now() < deadline {
        match client.send(search(store, "rare1"))?.status {
            200 => return Ok(()),
            503 => std::thread::sleep(Duration::from_millis(50)),
            status => bail!("a search is answered with {status}"),
        }
    }
    bail!("there is no index after {} s", INDEXED_WITHIN.as_secs());
}

/// A server that finds nothing fast would win otherwise.
fn check(store: &PilviStore, case: Case, objects: u64) -> Result<()> {
    let mut client = Client::connect(store.server().address)?;
    let phrase = case.phrase(7, objects);
    let answer = client.ask(search(store, &phrase))?;
    let found = answer["results"].as_array().map_or(0, Vec::len);
    if found < usize::try_from(ROWS)? {
        bail!("{phrase} finds {found} objects");
    }
    Ok(())
}

fn fill(store: &PilviStore, objects: u64) -> Result<()> {
    const THREADS: usize = 16;
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    let mut client = Client::connect(store.server().address)?;
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= objects {
                            return Ok(());
                        }
                        client.ask(store.create(&object(number, objects)))?;
                    }
                })
            })
            .collect();
        for worker in workers {
            match worker.join() {
                Ok(outcome) => outcome?,
                Err(_) => bail!("a thread that stores objects has panicked"),
            }
        }
        Ok(())
    })
}

fn of_postgresql(world: &World, extent: &Extent, report: &mut Report) -> Result<()> {
    let server = PostgreSql::start(world)?;
    let rows = world.empty_folder("rows")?.join("rows.tsv");
    let mut lines = String::new();
    for number in 0..extent.objects {
        // A document of these characters needs no escapes beside the backslash that it does not have.
        let _ = writeln!(lines, "{}", object(number, extent.objects));
    }
    fs::write(&rows, lines)?;
    server.execute(
        "CREATE TABLE items (id bigserial PRIMARY KEY, type text NOT NULL DEFAULT 'objects.items', \
         readers int NOT NULL DEFAULT 1, doc jsonb NOT NULL, \
         words tsvector GENERATED ALWAYS AS (to_tsvector('simple', (doc->>'title') || ' ' || (doc->>'text'))) STORED)",
    )?;
    server.execute(&format!("COPY items (doc) FROM '{}'", rows.display()))?;
    server.execute("CREATE INDEX items_by_word ON items USING gin (words)")?;
    server.execute("VACUUM ANALYZE items")?;
    for case in CASES {
        let Some(query) = case.tsquery() else {
            continue;
        };
        let script = format!(
            "\\set rare random(0, {})\n\\set common random(0, {})\n\
             SELECT doc::text FROM items, to_tsquery('simple', {query}) q WHERE type = 'objects.items' AND readers = 1 \
             AND words @@ q ORDER BY ts_rank(words, q) DESC, id LIMIT {ROWS};\n",
            extent.distinct - 1,
            COMMON - 1
        );
        let file = world.folder().join("search.sql");
        fs::write(&file, script)?;
        let tree = server.server.tree();
        bench_sql(&server, &file, extent.warm_up)?;
        let before = tree.cpu()?;
        let (per_second, requests) = bench_sql(&server, &file, extent.length)?;
        let cpu = tree.cpu()? - before;
        let mut add = |name, unit, better, value| {
            let case = case.name().to_owned();
            let metric = Metric {
                case,
                name,
                unit,
                better,
            };
            report.add(POSTGRESQL, metric, value);
        };
        add("requests", "1/s", Better::High, per_second);
        add(
            "CPU per request",
            "ms",
            Better::Low,
            cpu.as_secs_f64() * 1000.0 / requests,
        );
    }
    Ok(())
}

/// Runs a script with as many connections as Pilvi is asked by; gives transactions a second, and how many there were.
fn bench_sql(
    server: &PostgreSql,
    script: &std::path::Path,
    length: Duration,
) -> Result<(f64, f64)> {
    let mut pgbench = Command::new(install::postgresql()?.join("pgbench"));
    pgbench
        .args(["--no-vacuum", "--client", "32", "--jobs", "1", "--time"])
        .arg(length.as_secs().max(1).to_string())
        .arg("--file")
        .arg(script)
        .arg(server.url());
    let output = pgbench.output().context("could not start pgbench")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let number = |sign: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(sign))?;
        line.trim().split([' ', '/']).next()?.parse::<f64>().ok()
    };
    let figures = number("tps =").zip(number("number of transactions actually processed:"));
    figures.with_context(|| {
        format!(
            "pgbench failed: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_words_are_in_most_texts() {
        let texts: Vec<String> = (0..200).map(|number| text(number, 2_000)).collect();
        let with = |word: &str| {
            texts
                .iter()
                .filter(|text| text.split(' ').any(|w| w == word))
                .count()
        };
        assert!(with(&word(1)) > 100, "{}", with(&word(1)));
        assert!(with(&word(20_000)) < 20);
        assert_eq!(with("common3"), 20);
        assert_eq!(with("rare42"), 2);
    }
}
