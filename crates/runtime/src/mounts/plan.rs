//! What the root of a sandbox consists of, in plain data that travels to its init.

use std::io;

use crate::spec::{self, File, Spec};
use crate::wire::{Reader, Writer, garbled};

/// What `/tmp` may hold when the caller says nothing else.
const TMP_BYTES: u64 = 64 << 20;

/// The parts of a root, in the order in which they are put there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RootPlan {
    /// The host's folders that the parts refer to by their place in this list.
    pub(crate) sources: Vec<Source>,
    pub(crate) parts: Vec<Part>,
}

/// A folder or file of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) writable: bool,
}

/// One thing to put into the root of a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// A source as it is.
    Tree {
        at: String,
        source: usize,
    },
    /// A source below, and a layer in memory above that takes the changes.
    Layered {
        at: String,
        source: usize,
        upper_bytes: u64,
    },
    Memory {
        at: String,
        bytes: u64,
        mode: u32,
    },
    /// An empty folder that nobody can write to, over what is there.
    Mask {
        at: String,
    },
    Link {
        at: String,
        to: String,
    },
    File(FilePart),
}

/// A small file of the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FilePart {
    pub(crate) at: String,
    pub(crate) mode: u32,
    pub(crate) content: Vec<u8>,
}

impl RootPlan {
    /// Lays out what the spec asks for; `more` are files besides those of the stack.
    pub(crate) fn of(spec: &Spec, more: &[File]) -> io::Result<Self> {
        let mut plan = Self::default();
        for bind in &spec.stack.binds {
            let source = plan.source(&bind.source, false)?;
            let at = inside(&bind.at)?;
            plan.parts.push(Part::Tree { at, source });
        }
        for at in &spec.stack.masks {
            plan.parts.push(Part::Mask { at: inside(at)? });
        }
        for (at, to) in &spec.stack.links {
            let (at, to) = (inside(at)?, to.clone());
            plan.parts.push(Part::Link { at, to });
        }
        for file in last_of_each_path(&spec.stack.files, more) {
            plan.parts.push(Part::File(FilePart {
                at: inside(&file.at)?,
                mode: file.mode,
                content: file.content.clone(),
            }));
        }
        if !spec.mounts.iter().any(|mount| mount.at == "/tmp") {
            plan.parts.push(memory("tmp", TMP_BYTES));
        }
        for mount in &spec.mounts {
            let part = plan.mount(mount)?;
            plan.parts.push(part);
        }
        Ok(plan)
    }

    fn mount(&mut self, mount: &spec::Mount) -> io::Result<Part> {
        let at = inside(&mount.at)?;
        Ok(match &mount.from {
            spec::From::Folder { path, writable } => Part::Tree {
                at,
                source: self.source(path, *writable)?,
            },
            spec::From::Layered { lower, upper_bytes } => Part::Layered {
                at,
                source: self.source(lower, false)?,
                upper_bytes: *upper_bytes,
            },
            spec::From::Memory { bytes } => memory(&at, *bytes),
        })
    }

    fn source(&mut self, path: &std::path::Path, writable: bool) -> io::Result<usize> {
        let text = path.to_str().filter(|_| path.is_absolute());
        let text = text
            .ok_or_else(|| invalid(format!("{} is no absolute path in UTF-8", path.display())))?;
        self.sources.push(Source {
            path: text.to_owned(),
            writable,
        });
        Ok(self.sources.len() - 1)
    }

    pub(crate) fn write(&self, writer: &mut Writer) {
        writer.list(&self.sources, |writer, source| {
            writer.text(&source.path).byte(source.writable.into());
        });
        writer.list(&self.parts, |writer, part| part.write(writer));
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> io::Result<Self> {
        let sources = reader.list(|reader| {
            Ok(Source {
                path: reader.text()?,
                writable: reader.byte()? != 0,
            })
        })?;
        let parts = reader.list(Part::read)?;
        Ok(Self { sources, parts })
    }
}

impl Part {
    /// Where it goes: a path inside, without the first slash.
    pub(crate) fn at(&self) -> &str {
        match self {
            Self::Tree { at, .. }
            | Self::Layered { at, .. }
            | Self::Memory { at, .. }
            | Self::Mask { at }
            | Self::Link { at, .. } => at,
            Self::File(file) => &file.at,
        }
    }

    /// Whether programs may write there.
    pub(crate) fn is_writable(&self, sources: &[Source]) -> bool {
        match self {
            Self::Tree { source, .. } => sources.get(*source).is_some_and(|source| source.writable),
            Self::Layered { .. } | Self::Memory { .. } => true,
            Self::Mask { .. } | Self::Link { .. } | Self::File(_) => false,
        }
    }

    fn write(&self, writer: &mut Writer) {
        match self {
            Self::Tree { at, source } => writer.byte(1).text(at).number(*source as u64),
            Self::Layered {
                at,
                source,
                upper_bytes,
            } => writer
                .byte(2)
                .text(at)
                .number(*source as u64)
                .number(*upper_bytes),
            Self::Memory { at, bytes, mode } => writer
                .byte(3)
                .text(at)
                .number(*bytes)
                .number((*mode).into()),
            Self::Mask { at } => writer.byte(4).text(at),
            Self::Link { at, to } => writer.byte(5).text(at).text(to),
            Self::File(file) => {
                let writer = writer.byte(6).text(&file.at).number(file.mode.into());
                writer.blob(&file.content)
            }
        };
    }

    fn read(reader: &mut Reader<'_>) -> io::Result<Self> {
        let kind = reader.byte()?;
        let at = reader.text()?;
        Ok(match kind {
            1 => Self::Tree {
                at,
                source: reader.small()?,
            },
            2 => Self::Layered {
                at,
                source: reader.small()?,
                upper_bytes: reader.number()?,
            },
            3 => Self::Memory {
                at,
                bytes: reader.number()?,
                mode: reader.small()?,
            },
            4 => Self::Mask { at },
            5 => Self::Link {
                at,
                to: reader.text()?,
            },
            6 => Self::File(FilePart {
                at,
                mode: reader.small()?,
                content: reader.blob()?.to_vec(),
            }),
            _ => return Err(garbled()),
        })
    }
}

fn memory(at: &str, bytes: u64) -> Part {
    let mode = if at == "tmp" { 0o1777 } else { 0o755 };
    Part::Memory {
        at: at.to_owned(),
        bytes,
        mode,
    }
}

/// The files in the order of their first mention, each with its last content.
fn last_of_each_path<'a>(stack: &'a [File], more: &'a [File]) -> Vec<&'a File> {
    let mut files: Vec<&File> = Vec::new();
    for file in stack.iter().chain(more) {
        match files.iter_mut().find(|known| known.at == file.at) {
            Some(known) => *known = file,
            None => files.push(file),
        }
    }
    files
}

/// A path inside the sandbox, without its first slash.
fn inside(path: &str) -> io::Result<String> {
    let plain = path.strip_prefix('/').filter(|rest| {
        let mut steps = rest.split('/');
        steps.all(|step| !matches!(step, "" | "." | "..")) && !rest.contains('\0')
    });
    let plain = plain.ok_or_else(|| invalid(format!("{path} is no plain absolute path")))?;
    Ok(plain.to_owned())
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_lead_out_of_the_root_are_refused() {
        for path in ["", "app", "/", "/a/../b", "//a", "/a/", "/./a", "/a\0b"] {
            assert!(inside(path).is_err(), "{path:?}");
        }
        assert_eq!(inside("/app/log").unwrap(), "app/log");
    }

    #[test]
    fn a_plan_travels_whole() {
        let plan = RootPlan {
            sources: vec![Source {
                path: "/usr".into(),
                writable: false,
            }],
            parts: vec![
                Part::Tree {
                    at: "usr".into(),
                    source: 0,
                },
                Part::Layered {
                    at: "app".into(),
                    source: 0,
                    upper_bytes: 7,
                },
                memory("tmp", 9),
                Part::Mask {
                    at: "usr/local".into(),
                },
                Part::Link {
                    at: "bin".into(),
                    to: "usr/bin".into(),
                },
                Part::File(FilePart {
                    at: "etc/hosts".into(),
                    mode: 0o644,
                    content: b"127.0.0.1".to_vec(),
                }),
            ],
        };
        let mut writer = Writer::new();
        plan.write(&mut writer);
        let bytes = writer.finish();
        assert_eq!(RootPlan::read(&mut Reader::new(&bytes)).unwrap(), plan);
        for cut in 0..bytes.len() {
            assert!(RootPlan::read(&mut Reader::new(&bytes[..cut])).is_err());
        }
    }

    #[test]
    fn a_later_file_of_the_same_path_wins() {
        let file = |at: &str, content: &str| File {
            at: at.into(),
            content: content.into(),
            mode: 0o644,
        };
        let stack = [file("/etc/hosts", "one"), file("/etc/passwd", "two")];
        let more = [file("/etc/hosts", "three")];
        let files = last_of_each_path(&stack, &more);
        let contents: Vec<_> = files.iter().map(|file| file.content.as_slice()).collect();
        assert_eq!(contents, [b"three".as_slice(), b"two".as_slice()]);
    }
}
