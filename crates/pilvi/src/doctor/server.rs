//! The settings, and whether the server answers.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::{Circumstances, Finding, State};
use crate::config::{Weight, judge};

const ANSWER_WITHIN: Duration = Duration::from_secs(3);

pub(super) fn settings(circumstances: &Circumstances) -> Vec<Finding> {
    let name = "settings";
    if let Some(faults) = &circumstances.faults {
        let found = faults.faults.iter().map(|fault| {
            Finding::of(
                State::Fault,
                name,
                format!("{}: {fault}", faults.path.display()),
                "The server does not start; what is said below is how it would be with the defaults.",
                "pilvi config check",
            )
        });
        return found.collect();
    }
    let judged = judge(&circumstances.options, &circumstances.data);
    if judged.is_empty() {
        let found = match circumstances.file {
            Some(_) => "nothing to object to",
            None => "none; a server starts with what is usual",
        };
        return vec![Finding::fine(name, found)];
    }
    let found = judged.into_iter().map(|finding| {
        let state = match finding.weight {
            Weight::Fault => State::Fault,
            Weight::Warning => State::Warning,
        };
        Finding::of(
            state,
            finding.setting,
            finding.says,
            "",
            "pilvi config check",
        )
    });
    found.collect()
}

pub(super) fn mail(circumstances: &Circumstances) -> Vec<Finding> {
    let name = "mail";
    let Some(url) = &circumstances.options.mail.smtp_url else {
        return vec![Finding::of(
            State::Note,
            name,
            format!(
                "mails become files in {}",
                circumstances.data.join("mail").display()
            ),
            "Nobody gets an invitation, a link to confirm an address, or a new password by mail.",
            "Set smtp-url in the settings, such as smtps://user:password@mail.example.org.",
        )];
    };
    // The address may hold a password, so it is not shown.
    let Some((host, port)) = place_of(url.expose()) else {
        return Vec::new();
    };
    vec![match reach((host.as_str(), port)) {
        Ok(_) => Finding::fine(name, format!("{host} accepts connections at port {port}")),
        Err(error) => Finding::of(
            State::Fault,
            name,
            format!("{host} cannot be reached at port {port}: {error}"),
            "No mail leaves; those that are due are tried again for a while and then given up.",
            "See whether smtp-url is right, and whether a firewall or the provider closes that port.",
        ),
    }]
}

pub(super) fn files(circumstances: &Circumstances) -> Vec<Finding> {
    let name = "files";
    let options = &circumstances.options.files;
    if let Some(folder) = crate::blobs::folder(options, &circumstances.data) {
        return vec![Finding::fine(name, format!("in {}", folder.display()))];
    }
    let Ok(Some(bucket)) = options.bucket() else {
        // What is missing is said about the settings.
        return Vec::new();
    };
    let shown = format!("s3://{}/{}", bucket.bucket, bucket.prefix);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let probed = match runtime {
        Ok(runtime) => runtime.block_on(pilvi_blobs::probe_bucket(&bucket)),
        Err(error) => Err(pilvi_model::Error::internal(error)),
    };
    vec![match probed {
        Ok(()) => Finding::fine(name, format!("{shown} answers and takes our key")),
        Err(error) => Finding::of(
            State::Fault,
            name,
            format!("{shown}: {}", error.message),
            "Files can be neither read nor written; everything else works.",
            "See whether files, s3-endpoint and s3-region are right, and whether the key may read, write and list.",
        ),
    }]
}

/// The host and the port of the address of a mail server.
pub(super) fn place_of(url: &str) -> Option<(String, u16)> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?']).next()?;
    let place = authority
        .rsplit_once('@')
        .map_or(authority, |(_, place)| place);
    let usual = match scheme {
        "smtps" => 465,
        _ if url.contains("tls=") => 587,
        _ => 25,
    };
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (place, usual),
    };
    Some((host.trim_matches(['[', ']']).to_owned(), port))
}

/// Connects to one of the addresses of a place.
fn reach(place: impl ToSocketAddrs) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "its name leads nowhere");
    for address in place.to_socket_addrs()?.take(2) {
        match TcpStream::connect_timeout(&address, ANSWER_WITHIN) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

pub(super) fn answers(circumstances: &Circumstances) -> Vec<Finding> {
    let name = "answers";
    if !circumstances.is_running {
        return vec![Finding::of(
            State::Note,
            name,
            "no server runs on this data folder",
            "",
            "pilvi serve",
        )];
    }
    let address = within_reach(circumstances.options.http);
    if address.port() == 0 {
        return vec![Finding::fine(
            name,
            "a server runs, at a port that it chose itself",
        )];
    }
    vec![match ping(address) {
        Ok(true) => Finding::fine(
            name,
            format!("http://{address}/v1/ping says that all is well"),
        ),
        Ok(false) => Finding::of(
            State::Warning,
            name,
            format!("something that is not Pilvi, or is not well, answers at http://{address}"),
            "The server runs with other settings than these, or cannot read its data.",
            "Look into its log: journalctl -u pilvi.",
        ),
        Err(error) => Finding::of(
            State::Warning,
            name,
            format!("the running server does not answer at http://{address}: {error}"),
            "It was started with other settings, or it is overloaded.",
            "Look into its log: journalctl -u pilvi.",
        ),
    }]
}

/// An address that can be connected to where the server listens on all.
fn within_reach(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn ping(address: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_WITHIN)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.set_write_timeout(Some(ANSWER_WITHIN))?;
    let request = format!("GET /v1/ping HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    Ok(&head == b"HTTP/1.1 200")
}
