//! What the gateways count, as Prometheus reads it. It is served where `/healthz` is, and names no tenant.

use std::fmt::{Display, Write};

use pilvi_mws::{Counts, Mws, ReactorCounts};

/// The text format, in the version that everything reads.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All numbers of this moment.
pub(crate) fn of(mws: &Mws) -> String {
    page(&mws.counts(), &mws.reactors())
}

#[derive(Clone, Copy)]
enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only grows, until the server is restarted.
    Counter,
}

fn page(counts: &Counts, reactors: &[ReactorCounts]) -> String {
    let mut page = String::new();
    let of_all = [
        (
            "sockets",
            Kind::Gauge,
            "Sockets that are open.",
            counts.sockets,
        ),
        (
            "sockets_opened_total",
            Kind::Counter,
            "Sockets that were opened with the address that a gateway gave.",
            counts.opened,
        ),
        (
            "sockets_refused_total",
            Kind::Counter,
            "Openings with an address that was wrong, used or expired, or beyond a bound.",
            counts.refused,
        ),
        (
            "messages_total",
            Kind::Counter,
            "Messages that were accepted.",
            counts.messages,
        ),
        (
            "deliveries_total",
            Kind::Counter,
            "Messages on their way to a socket, counted once for each.",
            counts.deliveries,
        ),
        (
            "history_bytes",
            Kind::Gauge,
            "What gateways keep of messages for whoever comes late.",
            counts.history_bytes,
        ),
        (
            "slow_readers_total",
            Kind::Counter,
            "Sockets that were closed because too much waited for them.",
            counts.slow_readers,
        ),
        (
            "silent_total",
            Kind::Counter,
            "Sockets that were closed because they answered no ping.",
            counts.silent,
        ),
        (
            "violations_total",
            Kind::Counter,
            "Sockets that were closed because they broke the protocol.",
            counts.violations,
        ),
        (
            "events_total",
            Kind::Counter,
            "Events that a gateway's app answered.",
            counts.events,
        ),
        (
            "event_failures_total",
            Kind::Counter,
            "Attempts to tell an app of an event that failed.",
            counts.event_failures,
        ),
        (
            "events_lost_total",
            Kind::Counter,
            "Events that were given up.",
            counts.events_lost,
        ),
        (
            "event_closes_total",
            Kind::Counter,
            "Sockets that were closed because their app did not take what they said.",
            counts.event_closes,
        ),
        (
            "event_stalls_total",
            Kind::Counter,
            "How often a socket was not read for a while because its app was slow.",
            counts.event_stalls,
        ),
    ];
    for (name, kind, help, value) in of_all {
        family(&mut page, name, kind, help, [(None, value)]);
    }
    type Read = fn(&ReactorCounts) -> u64;
    let of_each: [(&str, Kind, &str, Read); 4] = [
        (
            "reactor_sockets",
            Kind::Gauge,
            "Sockets that a reactor holds.",
            |reactor| reactor.sockets,
        ),
        (
            "reactor_waiting_bytes",
            Kind::Gauge,
            "What waits for slow readers.",
            |reactor| reactor.waiting_bytes,
        ),
        (
            "reactor_turns_total",
            Kind::Counter,
            "How often a reactor looked for something to do.",
            |reactor| reactor.turns,
        ),
        (
            "reactor_writes_total",
            Kind::Counter,
            "System calls that sent something; deliveries divided by these say how much was joined.",
            |reactor| reactor.writes,
        ),
    ];
    for (name, kind, help, read) in of_each {
        let values = reactors.iter().map(read).enumerate();
        let values = values.map(|(number, value)| (Some(number), value));
        family(&mut page, name, kind, help, values);
    }
    page
}

/// A metric with its values, each of one reactor or of all.
fn family(
    page: &mut String,
    name: &str,
    kind: Kind,
    help: &str,
    values: impl IntoIterator<Item = (Option<usize>, u64)>,
) {
    let kind = match kind {
        Kind::Gauge => "gauge",
        Kind::Counter => "counter",
    };
    line(page, format_args!("# HELP pilvi_mws_{name} {help}"));
    line(page, format_args!("# TYPE pilvi_mws_{name} {kind}"));
    for (reactor, value) in values {
        match reactor {
            Some(number) => line(
                page,
                format_args!("pilvi_mws_{name}{{reactor=\"{number}\"}} {value}"),
            ),
            None => line(page, format_args!("pilvi_mws_{name} {value}")),
        }
    }
}

fn line(page: &mut String, text: impl Display) {
    // Writing to a text does not fail.
    let _ = writeln!(page, "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_explained_and_every_reactor_has_a_line() {
        let counts = Counts {
            sockets: 3,
            messages: 7,
            ..Counts::default()
        };
        let reactor = |sockets| ReactorCounts {
            sockets,
            ..ReactorCounts::default()
        };
        let page = page(&counts, &[reactor(1), reactor(2)]);
        for line in [
            "# HELP pilvi_mws_sockets Sockets that are open.",
            "# TYPE pilvi_mws_sockets gauge",
            "pilvi_mws_sockets 3",
            "# TYPE pilvi_mws_messages_total counter",
            "pilvi_mws_messages_total 7",
            "pilvi_mws_reactor_sockets{reactor=\"0\"} 1",
            "pilvi_mws_reactor_sockets{reactor=\"1\"} 2",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
        let started = |start| page.lines().filter(|line| line.starts_with(start)).count();
        assert_eq!(started("# HELP "), started("# TYPE "));
        // What ends in `_total` is a counter, as the format's rules have it.
        for line in page.lines().filter(|line| line.starts_with("# TYPE ")) {
            assert_eq!(line.contains("_total"), line.ends_with("counter"), "{line}");
        }
    }
}
