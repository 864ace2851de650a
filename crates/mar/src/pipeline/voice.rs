//! The look of the build log (`mar.md` §4.2), on its way to the pusher.

use std::collections::VecDeque;

use pilvi_git::Output;

use super::slug::human_size;
use super::tame::tame;

/// Sets the cursor to column 1, which on a terminal overwrites git's own `remote: `.
const COLUMN_1: &str = "\x1b[1G";
const TITLE: &str = "-----> ";
const INDENT: &str = "       ";
const REMARK: &str = " !     ";

/// Lines that are kept of output that is not shown any more, for the case that the build fails.
const TAIL_LINES: usize = 40;

/// What the pusher reads. Waits for a slow reader; a reader who has gone costs nothing.
pub struct Voice {
    output: Output,
    /// Bytes of the build's own output that are still shown.
    left: u64,
    shown_max: u64,
    tail: VecDeque<String>,
    hidden_lines: u64,
}

impl Voice {
    /// A voice that shows at most `shown_max` bytes of what programs write; its own lines are always shown.
    pub fn new(output: Output, shown_max: u64) -> Self {
        Self {
            output,
            left: shown_max,
            shown_max,
            tail: VecDeque::new(),
            hidden_lines: 0,
        }
    }

    /// A line that begins a part of the log.
    pub async fn title(&mut self, text: &str) {
        self.output
            .write(format!("{COLUMN_1}{TITLE}{}\n", tame(text.as_bytes())))
            .await;
    }

    pub async fn line(&mut self, text: &str) {
        self.output
            .write(format!("{COLUMN_1}{INDENT}{}\n", tame(text.as_bytes())))
            .await;
    }

    /// Something that the pusher should know or do something about, in one line or several.
    pub async fn remark(&mut self, text: &str) {
        let mut lines = String::new();
        for line in text.lines() {
            lines.push_str(&format!("{COLUMN_1}{REMARK}{}\n", tame(line.as_bytes())));
        }
        self.output.write(lines).await;
    }

    /// Lines that a program wrote.
    pub(super) async fn programs(&mut self, lines: &[String]) {
        let mut text = String::new();
        for line in lines {
            let line = laid_out(line);
            match self.left.checked_sub(line.len() as u64) {
                Some(left) if self.hidden_lines == 0 => {
                    self.left = left;
                    text.push_str(&line);
                }
                _ => self.hide(line, &mut text),
            }
        }
        if !text.is_empty() {
            self.output.write(text).await;
        }
    }

    fn hide(&mut self, line: String, text: &mut String) {
        if self.hidden_lines == 0 {
            text.push_str(&format!(
                "{COLUMN_1}{REMARK}The build wrote more than {}. What its programs write from here on is left out.\n",
                human_size(self.shown_max)
            ));
        }
        self.hidden_lines += 1;
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }

    /// Shows the end of what was left out: after a failure it says why.
    pub async fn show_tail(&mut self) {
        if self.tail.is_empty() {
            return;
        }
        let omitted = self.hidden_lines - self.tail.len() as u64;
        self.remark(&format!(
            "{omitted} lines were left out. The last ones were:"
        ))
        .await;
        let tail: String = self.tail.drain(..).collect();
        self.output.write(tail).await;
    }
}

/// A program's line in its place: titles flush left, everything else below them. Text that comes indented as
/// buildpacks do is not indented once more.
fn laid_out(line: &str) -> String {
    let trimmed = line.trim_start();
    if trimmed.starts_with(TITLE) {
        format!("{COLUMN_1}{trimmed}\n")
    } else if line.starts_with("--") || line.starts_with(INDENT) || line.starts_with(REMARK) {
        format!("{COLUMN_1}{line}\n")
    } else {
        format!("{COLUMN_1}{INDENT}{line}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn said(pieces: &mut tokio::sync::mpsc::Receiver<bytes::Bytes>) -> String {
        let mut all = Vec::new();
        while let Ok(piece) = pieces.try_recv() {
            all.extend_from_slice(&piece);
        }
        String::from_utf8(all).unwrap()
    }

    #[tokio::test]
    async fn lines_look_as_documented() {
        let (output, mut pieces) = Output::channel(100);
        let mut voice = Voice::new(output, 1 << 20);
        voice.title("Qt app detected").await;
        voice.line("done.").await;
        voice.remark("It failed.\nThis is \x07why.").await;
        let lines = [
            "-----> Setting up Qt",
            "g++ -c main.cpp",
            "       added 1 package",
            "  two blanks",
            "--help",
            "",
            "   -----> late title",
            "=====> Detected Framework: Qt",
            " !     Add a Procfile.",
        ];
        voice.programs(&lines.map(str::to_owned)).await;
        assert_eq!(
            said(&mut pieces).await,
            "\x1b[1G-----> Qt app detected\n\
             \x1b[1G       done.\n\
             \x1b[1G !     It failed.\n\
             \x1b[1G !     This is ^Gwhy.\n\
             \x1b[1G-----> Setting up Qt\n\
             \x1b[1G       g++ -c main.cpp\n\
             \x1b[1G       added 1 package\n\
             \x1b[1G         two blanks\n\
             \x1b[1G--help\n\
             \x1b[1G       \n\
             \x1b[1G-----> late title\n\
             \x1b[1G       =====> Detected Framework: Qt\n\
             \x1b[1G !     Add a Procfile.\n"
        );
    }

    #[tokio::test]
    async fn a_flood_is_left_out_and_its_end_is_kept_for_a_failure() {
        let (output, mut pieces) = Output::channel(100);
        let mut voice = Voice::new(output, 1000);
        let lines: Vec<_> = (0..1000).map(|number| format!("line {number}")).collect();
        voice.programs(&lines).await;
        voice.title("still shown").await;
        let text = said(&mut pieces).await;
        assert!(
            text.contains("line 10\n") && !text.contains("line 900\n"),
            "{text}"
        );
        assert!(text.contains("The build wrote more than 1000"), "{text}");
        assert!(text.ends_with("\x1b[1G-----> still shown\n"), "{text}");
        assert!(text.len() < 1500);
        voice.show_tail().await;
        let tail = said(&mut pieces).await;
        assert!(tail.contains("lines were left out"), "{tail}");
        assert!(tail.ends_with("\x1b[1G       line 999\n"), "{tail}");
        assert!(!tail.contains("line 900\n"), "{tail}");
    }
}
