//! `bench files`: taking in files and giving them out, beside nginx, which stores what is PUT and answers with
//! sendfile.
//!
//! nginx does less: it hashes nothing, keeps no rows, and does not wait for the disk. So an upload costs Pilvi more
//! by what that is worth; a download should cost about the same.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::{AddAssign, Range};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::http::client::{Client, text};
use crate::http::request::Request;
use crate::install;
use crate::options::Options;
use crate::peers::pilvi::{Instance, Pilvi};
use crate::report::{Better, Metric, Report};
use crate::server::{Ready, Server};
use crate::world::World;

const PILVI: &str = "pilvi";
const NGINX: &str = "nginx";
/// Uploads, or downloads, at the same time.
const CONNECTIONS: u64 = 4;
const BOUNDARY: &str = "pilvi-bench-b0undary";
const PATIENCE: Duration = Duration::from_secs(120);
const MIB: u64 = 1 << 20;
/// So much is uploaded at once; then the machine comes to rest again.
const BURST_BYTES: u64 = 400 * MIB;

/// Files of one size, and how many of them.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    bytes: u64,
    count: u64,
}

pub(crate) fn run(world: &World, options: &Options) -> Result<Report> {
    let mut report = Report::new("files");
    let columns = options.available(
        &mut report,
        &[PILVI, NGINX],
        |column| column,
        |column| match column {
            NGINX => install::debian("/usr/sbin/nginx", "nginx-light").map(drop),
            _ => Ok(()),
        },
    );
    report.columns(columns.iter().copied());
    let (small, large) = if options.quick { (40, 4) } else { (800, 16) };
    let cases = [
        Case {
            name: "1 MiB",
            bytes: MIB,
            count: small,
        },
        Case {
            name: "100 MiB",
            bytes: 100 * MIB,
            count: large,
        },
    ];
    report.note(format!(
        "{CONNECTIONS} connections, {small} files of 1 MiB and {large} of 100 MiB, each with bytes of its own; what is \
         downloaded is in the system's cache"
    ));
    report.note(format!(
        "uploads come in bursts of {} MiB; before each, the disk writes what it has to, and as much memory is filled \
         and freed again",
        BURST_BYTES / MIB
    ));
    report.note(
        "Pilvi hashes an upload, waits until it is on the disk, and writes its rows; nginx does none of this",
    );
    for round in 1..=options.rounds() {
        // Nobody is always the first.
        let mut columns = columns.clone();
        if round % 2 == 0 {
            columns.reverse();
        }
        for column in &columns {
            for case in cases {
                options.progress(&format!("files: round {round}, {column}, {}", case.name));
                let outcome = match *column {
                    PILVI => of_pilvi(world, case, &mut report),
                    _ => of_nginx(world, case, &mut report),
                };
                report.note_failure(column, case.name, outcome);
            }
        }
    }
    Ok(report)
}

fn of_pilvi(world: &World, case: Case, report: &mut Report) -> Result<()> {
    let pilvi = Pilvi::start(world)?;
    let backend = pilvi.create("eds", "files")?;
    let upload = |_: u64| {
        let part = "Content-Disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\n\r\n";
        Upload {
            head: head(&[
                "POST /v1/files HTTP/1.1",
                &format!("Enginio-Backend-Id: {}", backend.id),
                &format!("Authorization: Bearer {}", backend.token),
                &format!("Content-Type: multipart/form-data; boundary={BOUNDARY}"),
            ]),
            before: format!("--{BOUNDARY}\r\n{part}"),
            after: format!("\r\n--{BOUNDARY}--\r\n"),
        }
    };
    let mut uploads = Spent::default();
    for burst in bursts(case) {
        settle(world)?;
        uploads += measure(&pilvi.server, burst, |line, number| {
            line.upload(&upload(number), number, case.bytes)
        })?;
    }
    note(report, PILVI, "upload", case, uploads);
    let addresses = addresses(&pilvi, &backend)?;
    let downloads = measure(&pilvi.server, 0..case.count, |line, number| {
        let place = usize::try_from(number)? % addresses.len();
        line.download(&addresses[place], case.bytes)
    })?;
    note(report, PILVI, "download", case, downloads);
    Ok(())
}

/// Where the files can be downloaded.
fn addresses(pilvi: &Pilvi, backend: &Instance) -> Result<Vec<String>> {
    let mut client = Client::connect(pilvi.server.address)?;
    let bearer = format!("Bearer {}", backend.token);
    let asked = |path: &str| {
        Request::get(path)
            .header("Enginio-Backend-Id", &backend.id)
            .header("Authorization", &bearer)
    };
    let list = client.ask(asked("/v1/files?limit=1000"))?;
    let files = list["results"].as_array().context("there is no list")?;
    let mut addresses = Vec::new();
    for file in files {
        let path = format!("/v1/files/{}/download_url", text(file, "/id")?);
        let url = text(&client.ask(asked(&path))?, "/expiringUrl")?;
        let path = url
            .find("/v1/downloads/")
            .context("the address is another")?;
        addresses.push(url[path..].to_owned());
    }
    if addresses.is_empty() {
        bail!("there are no files: {}", json!(list));
    }
    Ok(addresses)
}

fn of_nginx(world: &World, case: Case, report: &mut Report) -> Result<()> {
    let program = install::debian("/usr/sbin/nginx", "nginx-light")?;
    let folder = world.empty_folder("files-nginx")?;
    fs::create_dir(folder.join("files"))?;
    let template = fs::read_to_string(install::peer_source().join("files-nginx.conf"))?;
    let file = folder.join("nginx.conf");
    let user = if rustix::process::geteuid().is_root() {
        "user root;"
    } else {
        ""
    };
    let server = world.start(NGINX, &Ready::Accepts, |address| {
        let text = template
            .replace("FOLDER", &folder.display().to_string())
            .replace("USER", user)
            .replace("ADDRESS", &address.to_string());
        // If it cannot be written, nginx says so.
        let _ = fs::write(&file, text);
        let mut command = Command::new(program);
        command.arg("-c").arg(&file).arg("-p").arg(&folder);
        command
    })?;
    let mut uploads = Spent::default();
    for burst in bursts(case) {
        settle(world)?;
        uploads += measure(&server, burst, |line, number| {
            let upload = Upload {
                head: head(&[&format!("PUT /{number}.bin HTTP/1.1")]),
                before: String::new(),
                after: String::new(),
            };
            line.upload(&upload, number, case.bytes)
        })?;
    }
    note(report, NGINX, "upload", case, uploads);
    let downloads = measure(&server, 0..case.count, |line, number| {
        line.download(&format!("/{number}.bin"), case.bytes)
    })?;
    note(report, NGINX, "download", case, downloads);
    Ok(())
}

/// The numbers of the files that are uploaded at once.
fn bursts(case: Case) -> impl Iterator<Item = Range<u64>> {
    let step = BURST_BYTES / case.bytes;
    let begins = (0..case.count.div_ceil(step)).map(move |burst| burst * step);
    begins.map(move |begin| begin..case.count.min(begin + step))
}

/// Lets the disk finish what others gave it to write, and makes sure that there is memory at hand for what is
/// uploaded: a virtual machine may have given free memory back to its host, and having it again costs whoever writes
/// first as much CPU as the upload itself.
fn settle(world: &World) -> Result<()> {
    rustix::fs::sync();
    let path = world.folder().join("ballast");
    let mut file = fs::File::create(&path)?;
    let block = vec![0; 1 << 20];
    for _ in 0..BURST_BYTES / MIB {
        file.write_all(&block)?;
    }
    drop(file);
    fs::remove_file(&path)?;
    Ok(())
}

/// What it took.
#[derive(Clone, Copy, Default)]
struct Spent {
    time: Duration,
    cpu: Duration,
}

impl AddAssign for Spent {
    fn add_assign(&mut self, other: Self) {
        self.time += other.time;
        self.cpu += other.cpu;
    }
}

/// Lets all connections do what there is to do with the files of these numbers.
fn measure(
    server: &Server,
    numbers: Range<u64>,
    work: impl Fn(&mut Line, u64) -> Result<()> + Sync,
) -> Result<Spent> {
    let next = AtomicU64::new(numbers.start);
    let before = server.tree().cpu()?;
    let began = Instant::now();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    let mut line = Line::to(server.address)?;
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= numbers.end {
                            return Ok(());
                        }
                        work(&mut line, number).with_context(|| format!("file {number}"))?;
                    }
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| {
            let ended = worker.join();
            ended.unwrap_or_else(|_| bail!("a connection's thread panicked"))
        })
    })?;
    Ok(Spent {
        time: began.elapsed(),
        cpu: server.tree().cpu()?.saturating_sub(before),
    })
}

fn note(report: &mut Report, column: &str, what: &str, case: Case, spent: Spent) {
    let bytes = (case.bytes * case.count) as f64;
    let metric = |name, unit, better| Metric {
        case: format!("{what}, {}", case.name),
        name,
        unit,
        better,
    };
    let megabytes = bytes / 1e6;
    report.add(
        column,
        metric("throughput", "MB/s", Better::High),
        megabytes / spent.time.as_secs_f64(),
    );
    report.add(
        column,
        metric("CPU per GB", "s", Better::Low),
        spent.cpu.as_secs_f64() / (bytes / 1e9),
    );
}

fn head(lines: &[&str]) -> String {
    let mut head = lines.join("\r\n");
    head.push_str("\r\nHost: 127.0.0.1\r\n");
    head
}

/// What is said around the bytes of a file.
struct Upload {
    head: String,
    before: String,
    after: String,
}

/// One connection, kept for all that goes over it.
struct Line {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Line {
    fn to(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            buffer: vec![0; 1 << 18],
        })
    }

    /// Sends a file that no other has the bytes of.
    fn upload(&mut self, upload: &Upload, number: u64, bytes: u64) -> Result<()> {
        let length = upload.before.len() as u64 + bytes + upload.after.len() as u64;
        let head = format!(
            "{}Content-Length: {length}\r\n\r\n{}",
            upload.head, upload.before
        );
        self.stream.write_all(head.as_bytes())?;
        let block = vec![0x5a; 1 << 18];
        let mut first = block.clone();
        first[..8].copy_from_slice(&number.to_be_bytes());
        let mut left = bytes;
        while left > 0 {
            let piece = if left == bytes { &first } else { &block };
            let count = left.min(piece.len() as u64);
            self.stream.write_all(&piece[..usize::try_from(count)?])?;
            left -= count;
        }
        self.stream.write_all(upload.after.as_bytes())?;
        let status = self.reply()?.0;
        match status {
            200..300 => Ok(()),
            _ => bail!("the upload was answered with {status}"),
        }
    }

    fn download(&mut self, path: &str, bytes: u64) -> Result<()> {
        let head = head(&[&format!("GET {path} HTTP/1.1")]);
        self.stream.write_all(format!("{head}\r\n").as_bytes())?;
        let (status, length) = self.reply()?;
        match (status, length == bytes) {
            (200, true) => Ok(()),
            _ => bail!("the download was answered with {status} and {length} bytes"),
        }
    }

    /// Reads a reply to its end and gives its status and the length of its body.
    fn reply(&mut self) -> Result<(u16, u64)> {
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[filled..])?;
            if read == 0 {
                bail!("the server closed the connection");
            }
            filled += read;
            let mut headers = [httparse::EMPTY_HEADER; 32];
            let mut response = httparse::Response::new(&mut headers);
            let httparse::Status::Complete(end) = response.parse(&self.buffer[..filled])? else {
                continue;
            };
            let status = response.code.context("a reply without a status")?;
            let length = response
                .headers
                .iter()
                .find(|header| header.name.eq_ignore_ascii_case("content-length"));
            let length: u64 = match length {
                Some(header) => std::str::from_utf8(header.value)?.trim().parse()?,
                None => 0,
            };
            let mut left = length.saturating_sub((filled - end) as u64);
            while left > 0 {
                let wanted = usize::try_from(left.min(self.buffer.len() as u64))?;
                let read = self.stream.read(&mut self.buffer[..wanted])?;
                if read == 0 {
                    bail!("the body ended {left} bytes too early");
                }
                left -= read as u64;
            }
            return Ok((status, length));
        }
    }
}
