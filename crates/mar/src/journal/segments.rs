//! The files of one journal: numbered segments of whole lines, the oldest of which go when there are too many.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// How much of a journal is kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    pub segment_max_bytes: u64,
    pub segments_max: usize,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            segment_max_bytes: 1 << 20,
            segments_max: 10,
        }
    }
}

/// The segments of one journal. One writer at a time: whoever has it mutably.
#[derive(Debug)]
pub(super) struct Segments {
    folder: PathBuf,
    retention: Retention,
    /// The numbers of the files, ascending. Empty before the first line.
    numbers: Vec<u64>,
    /// How long the newest one is; what is beyond it was left by a write that failed, and is overwritten.
    length: u64,
}

impl Segments {
    /// Finds what an earlier run left. A last line that was torn by a crash is cut off.
    pub(super) fn open(folder: &Path, retention: Retention) -> io::Result<Self> {
        let mut segments = Self {
            folder: folder.to_owned(),
            retention,
            numbers: numbers(folder)?,
            length: 0,
        };
        if let Some(newest) = segments.numbers.last() {
            let path = segments.path(*newest);
            let content = fs::read(&path)?;
            let whole = memchr::memrchr(b'\n', &content).map_or(0, |end| end + 1);
            segments.length = whole as u64;
        }
        Ok(segments)
    }

    /// Appends whole lines. When this fails, none of those that it had not told yet are there.
    pub(super) fn append(&mut self, lines: &[Vec<u8>]) -> io::Result<()> {
        let mut rest = lines;
        while !rest.is_empty() {
            if self.numbers.is_empty() || self.room_for(&rest[0]).is_none() {
                self.rotate()?;
            }
            let mut batch = Vec::new();
            let mut count = 0;
            for line in rest {
                if count > 0
                    && self.length + (batch.len() + line.len()) as u64
                        > self.retention.segment_max_bytes
                {
                    break;
                }
                batch.extend_from_slice(line);
                count += 1;
            }
            self.write(&batch)?;
            rest = &rest[count..];
        }
        Ok(())
    }

    /// Goes through the lines, without their line ends, from the newest to the oldest.
    pub(super) fn backwards(
        &self,
        mut each: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> io::Result<()> {
        for (back, number) in self.numbers.iter().rev().enumerate() {
            let mut content = Vec::new();
            let file = match File::open(self.path(*number)) {
                Ok(file) => file,
                // Somebody has tidied up by hand.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let length = if back == 0 { self.length } else { u64::MAX };
            file.take(length).read_to_end(&mut content)?;
            let mut rest = content.as_slice();
            while let Some(stripped) = rest.strip_suffix(b"\n") {
                let start = memchr::memrchr(b'\n', stripped).map_or(0, |end| end + 1);
                if each(&stripped[start..]).is_break() {
                    return Ok(());
                }
                rest = &rest[..start];
            }
        }
        Ok(())
    }

    /// Room for this line in the newest segment. An empty segment takes any line.
    fn room_for(&self, line: &[u8]) -> Option<u64> {
        if self.length == 0 {
            return Some(line.len() as u64);
        }
        (self.retention.segment_max_bytes).checked_sub(self.length + line.len() as u64)
    }

    fn write(&mut self, batch: &[u8]) -> io::Result<()> {
        let newest = self.numbers.last().expect("there is a segment to write to");
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.path(*newest))?;
        if file.metadata()?.len() != self.length {
            file.set_len(self.length)?;
        }
        file.seek(SeekFrom::Start(self.length))?;
        file.write_all(batch)?;
        self.length += batch.len() as u64;
        Ok(())
    }

    /// Begins a new segment, and deletes the oldest one when that makes too many.
    fn rotate(&mut self) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        self.numbers
            .push(self.numbers.last().map_or(1, |last| last + 1));
        self.length = 0;
        while self.numbers.len() > self.retention.segments_max.max(1) {
            match fs::remove_file(self.path(self.numbers[0])) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => self.numbers.remove(0),
            };
        }
        Ok(())
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:08}.ndjson"))
    }
}

/// The numbers of the segments in a folder, ascending; what is named otherwise is none of ours.
fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".ndjson"));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newest_first(segments: &Segments) -> Vec<String> {
        let mut lines = Vec::new();
        let read = segments.backwards(|line| {
            lines.push(String::from_utf8(line.to_vec()).unwrap());
            ControlFlow::Continue(())
        });
        read.unwrap();
        lines
    }

    fn line(text: &str) -> Vec<u8> {
        format!("{text}\n").into_bytes()
    }

    #[test]
    fn lines_are_read_from_the_newest_to_the_oldest_over_all_segments() {
        let folder = tempfile::tempdir().unwrap();
        let retention = Retention {
            segment_max_bytes: 10,
            segments_max: 10,
        };
        let mut segments = Segments::open(&folder.path().join("log"), retention).unwrap();
        assert!(newest_first(&segments).is_empty());
        segments
            .append(&["one", "two", "three", "four"].map(line))
            .unwrap();
        segments
            .append(&[line("longer than a segment"), line("six")])
            .unwrap();
        let expected = [
            "six",
            "longer than a segment",
            "four",
            "three",
            "two",
            "one",
        ];
        assert_eq!(newest_first(&segments), expected);
        let again = Segments::open(&folder.path().join("log"), retention).unwrap();
        assert_eq!(newest_first(&again), expected);
    }

    #[test]
    fn the_oldest_segments_go_and_no_more_than_the_limit_stays() {
        let folder = tempfile::tempdir().unwrap();
        let retention = Retention {
            segment_max_bytes: 100,
            segments_max: 3,
        };
        let mut segments = Segments::open(folder.path(), retention).unwrap();
        for number in 0..1000 {
            segments
                .append(&[line(&format!("line {number:04}"))])
                .unwrap();
        }
        let files: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(files.len(), 3);
        assert!(
            files
                .iter()
                .all(|file| file.metadata().unwrap().len() <= 100)
        );
        let lines = newest_first(&segments);
        assert_eq!(lines[0], "line 0999");
        assert!((20..=30).contains(&lines.len()), "{}", lines.len());
    }

    #[test]
    fn a_torn_last_line_is_forgotten_and_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let mut segments = Segments::open(folder.path(), Retention::default()).unwrap();
        segments.append(&[line("whole")]).unwrap();
        let path = segments.path(1);
        File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"torn and lo")
            .unwrap();
        let mut again = Segments::open(folder.path(), Retention::default()).unwrap();
        assert_eq!(newest_first(&again), ["whole"]);
        again.append(&[line("x")]).unwrap();
        assert_eq!(newest_first(&again), ["x", "whole"]);
        assert_eq!(fs::read(&path).unwrap(), b"whole\nx\n");
    }

    #[test]
    fn reading_ends_when_the_reader_has_enough() {
        let folder = tempfile::tempdir().unwrap();
        let mut segments = Segments::open(folder.path(), Retention::default()).unwrap();
        segments.append(&["a", "b", "c"].map(line)).unwrap();
        let mut seen = 0;
        let read = segments.backwards(|_| {
            seen += 1;
            if seen == 2 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        read.unwrap();
        assert_eq!(seen, 2);
    }
}
