//! What a run found: figures side by side, each as a ratio to the first column, as a table or as JSON.

use std::fmt::Write as _;

use anyhow::Result;
use serde_json::{Value, json};

use crate::samples::median;

/// Which direction is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    Low,
    High,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Metric {
    /// The load, such as `5000 sockets`.
    pub(crate) case: String,
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
}

/// All that one benchmark found.
pub(crate) struct Report {
    title: String,
    /// Sentences that the reader of the numbers must know.
    notes: Vec<String>,
    /// In the order of the columns; ratios are to the first.
    peers: Vec<String>,
    figures: Vec<Figure>,
    /// What the figures have to come to.
    targets: Vec<Target>,
}

/// What one metric has to come to, whatever the load.
struct Target {
    metric: &'static str,
    bound: Bound,
}

#[derive(Clone, Copy)]
enum Bound {
    /// So many times better than this peer.
    Times(f64, &'static str),
    AtMost(f64),
    AtLeast(f64),
}

/// One measured quantity of one peer, with a value from each round.
struct Figure {
    metric: Metric,
    peer: String,
    values: Vec<f64>,
}

impl Report {
    pub(crate) fn new(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            notes: Vec::new(),
            peers: Vec::new(),
            figures: Vec::new(),
            targets: Vec::new(),
        }
    }

    /// The first column is to be so many times better than this peer.
    pub(crate) fn want_times(&mut self, metric: &'static str, times: f64, peer: &'static str) {
        self.want(metric, Bound::Times(times, peer));
    }

    pub(crate) fn want_at_most(&mut self, metric: &'static str, bound: f64) {
        self.want(metric, Bound::AtMost(bound));
    }

    pub(crate) fn want_at_least(&mut self, metric: &'static str, bound: f64) {
        self.want(metric, Bound::AtLeast(bound));
    }

    fn want(&mut self, metric: &'static str, bound: Bound) {
        self.targets.push(Target { metric, bound });
    }

    /// Says whose columns there are, in their order.
    pub(crate) fn columns<'a>(&mut self, peers: impl IntoIterator<Item = &'a str>) {
        self.peers = peers.into_iter().map(str::to_owned).collect();
    }

    pub(crate) fn note(&mut self, sentence: impl Into<String>) {
        let sentence = sentence.into();
        if !self.notes.contains(&sentence) {
            self.notes.push(sentence);
        }
    }

    /// Notes what went wrong. Whether all went well.
    pub(crate) fn note_failure(&mut self, peer: &str, case: &str, outcome: Result<()>) -> bool {
        match outcome {
            Ok(()) => true,
            Err(error) => {
                self.note(format!("FAILED {peer}, {case}: {error:#}"));
                false
            }
        }
    }

    /// Adds the value of one round.
    pub(crate) fn add(&mut self, peer: &str, metric: Metric, value: f64) {
        let known = self
            .figures
            .iter_mut()
            .find(|figure| figure.peer == peer && figure.metric == metric);
        match known {
            Some(figure) => figure.values.push(value),
            None => self.figures.push(Figure {
                metric,
                peer: peer.to_owned(),
                values: vec![value],
            }),
        }
    }

    fn value(&self, peer: &str, metric: &Metric) -> Option<f64> {
        let figure = self
            .figures
            .iter()
            .find(|figure| figure.peer == peer && figure.metric == *metric)?;
        median(&figure.values)
    }

    /// Every metric once, in the order of its first value.
    fn metrics(&self) -> Vec<&Metric> {
        let mut metrics: Vec<&Metric> = Vec::new();
        for figure in &self.figures {
            if !metrics.contains(&&figure.metric) {
                metrics.push(&figure.metric);
            }
        }
        metrics
    }

    /// A table in Markdown, which also reads well as it is.
    pub(crate) fn table(&self) -> String {
        let mut rows = vec![self.header()];
        let first = self.peers.first().map_or("", String::as_str);
        for metric in self.metrics() {
            let base = self.value(first, metric);
            let mut row = vec![
                metric.case.clone(),
                format!("{}, {}", metric.name, metric.unit),
            ];
            row.extend(self.peers.iter().map(|peer| {
                let base = base.filter(|_| peer != first);
                self.value(peer, metric)
                    .map_or_else(|| "–".to_owned(), |value| cell(value, base, metric.better))
            }));
            rows.push(row);
        }
        let mut text = format!("## {}\n\n", self.title);
        for note in &self.notes {
            let _ = writeln!(text, "- {note}");
        }
        text + "\n" + &aligned(&rows) + &self.verdicts()
    }

    /// One line for every target and every load under which it was measured.
    fn verdicts(&self) -> String {
        let mut text = String::new();
        for target in &self.targets {
            for metric in self.metrics() {
                if metric.name == target.metric
                    && let Some((sentence, met)) = self.verdict(metric, target.bound)
                {
                    let word = if met { "met" } else { "MISSED" };
                    let _ = writeln!(
                        text,
                        "- {word}: {}, {}: {sentence}",
                        metric.case, metric.name
                    );
                }
            }
        }
        match text.is_empty() {
            true => text,
            false => format!("\nTargets:\n\n{text}"),
        }
    }

    /// What is wanted and what there is, and whether that is enough; `None` where nothing was measured.
    fn verdict(&self, metric: &Metric, bound: Bound) -> Option<(String, bool)> {
        let ours = self.value(self.peers.first()?, metric)?;
        Some(match bound {
            Bound::Times(wanted, peer) => {
                let times = times_better(ours, self.value(peer, metric)?, metric.better)?;
                let sentence = format!(
                    "×{} against {peer}, wanted ×{}",
                    rounded(times),
                    rounded(wanted)
                );
                (sentence, times >= wanted)
            }
            Bound::AtMost(bound) => {
                let sentence = format!("{} {}, wanted at most {bound}", rounded(ours), metric.unit);
                (sentence, ours <= bound)
            }
            Bound::AtLeast(bound) => {
                let sentence =
                    format!("{} {}, wanted at least {bound}", rounded(ours), metric.unit);
                (sentence, ours >= bound)
            }
        })
    }

    fn header(&self) -> Vec<String> {
        let mut header = vec!["load".to_owned(), "figure".to_owned()];
        header.extend(self.peers.iter().cloned());
        header
    }

    pub(crate) fn json(&self) -> Value {
        let figures: Vec<Value> = self
            .figures
            .iter()
            .map(|figure| {
                json!({
                    "case": figure.metric.case,
                    "metric": figure.metric.name,
                    "unit": figure.metric.unit,
                    "better": match figure.metric.better { Better::Low => "low", Better::High => "high" },
                    "peer": figure.peer,
                    "median": median(&figure.values),
                    "values": figure.values,
                })
            })
            .collect();
        json!({"title": self.title, "notes": self.notes, "peers": self.peers, "figures": figures})
    }
}

/// The value, and in parentheses how many times better than it the first column is.
fn cell(value: f64, base: Option<f64>, better: Better) -> String {
    let times = base.and_then(|base| times_better(base, value, better));
    match times {
        Some(times) => format!("{} (×{})", rounded(value), rounded(times)),
        None => rounded(value),
    }
}

/// How many times better `ours` is than `theirs`; `None` where no ratio makes sense.
fn times_better(ours: f64, theirs: f64, better: Better) -> Option<f64> {
    let (good, bad) = match better {
        Better::High => (ours, theirs),
        Better::Low => (theirs, ours),
    };
    (bad > 0.0 && good >= 0.0).then(|| good / bad)
}

/// Three digits that count, thousands apart.
fn rounded(value: f64) -> String {
    let size = value.abs();
    if size >= 1000.0 {
        return grouped(&format!("{value:.0}"));
    }
    let decimals = match size {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 || size == 0.0 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

fn grouped(digits: &str) -> String {
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        let behind = digits.len() - place;
        if place > 0 && behind.is_multiple_of(3) && !text.ends_with('-') {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let lengths = rows.iter().map(|row| row[column].chars().count());
        lengths.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (place, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(text, "| {cell:width$} ");
        }
        text.push_str("|\n");
        if place == 0 {
            for width in &widths {
                let _ = write!(text, "| {:-<width$} ", "");
            }
            text.push_str("|\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(name: &'static str, better: Better) -> Metric {
        Metric {
            case: "load".into(),
            name,
            unit: "u",
            better,
        }
    }

    #[test]
    fn a_ratio_above_one_always_speaks_for_the_first_column() {
        assert_eq!(cell(50.0, Some(100.0), Better::High), "50.0 (×2.00)");
        assert_eq!(cell(50.0, Some(100.0), Better::Low), "50.0 (×0.500)");
        assert_eq!(cell(50.0, None, Better::Low), "50.0");
        assert_eq!(cell(0.0, Some(1.0), Better::High), "0.00");
    }

    #[test]
    fn numbers_keep_three_digits() {
        let shown = [
            0.0,
            0.0123,
            1.234,
            12.34,
            123.4,
            1234.5,
            1_234_567.0,
            -1234.0,
        ]
        .map(rounded);
        let expected = [
            "0.00",
            "0.012",
            "1.23",
            "12.3",
            "123",
            "1 234",
            "1 234 567",
            "-1 234",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn the_table_shows_medians_beside_each_other_and_marks_what_is_missing() {
        let mut report = Report::new("T");
        report.columns(["a", "b", "c"]);
        for value in [1.0, 9.0, 2.0] {
            report.add("a", metric("speed", Better::High), value);
        }
        report.add("b", metric("speed", Better::High), 1.0);
        report.note("once");
        report.note("once");
        let expected = "## T\n\n- once\n\n\
            | load | figure   | a    | b            | c |\n\
            | ---- | -------- | ---- | ------------ | - |\n\
            | load | speed, u | 2.00 | 1.00 (×2.00) | – |\n";
        assert_eq!(report.table(), expected);
        assert_eq!(report.json()["figures"][0]["median"], 2.0);
    }

    #[test]
    fn targets_are_judged_for_every_load_that_was_measured() {
        let mut report = Report::new("T");
        report.columns(["a", "b"]);
        report.add("a", metric("time", Better::Low), 2.0);
        report.add("b", metric("time", Better::Low), 10.0);
        report.want_times("time", 5.0, "b");
        report.want_times("time", 6.0, "b");
        report.want_times("time", 1.0, "nobody");
        report.want_at_most("time", 1.5);
        report.want_at_least("time", 2.0);
        report.want_at_most("space", 1.0);
        let expected = "\nTargets:\n\n\
            - met: load, time: ×5.00 against b, wanted ×5.00\n\
            - MISSED: load, time: ×5.00 against b, wanted ×6.00\n\
            - MISSED: load, time: 2.00 u, wanted at most 1.5\n\
            - met: load, time: 2.00 u, wanted at least 2\n";
        assert_eq!(report.verdicts(), expected);
    }
}
