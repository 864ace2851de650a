//! What server, helper and init say to each other.
//!
//! The server asks the helper for a birth: a process in new namespaces, which becomes the init of a sandbox. From then
//! on server and init talk alone, over a channel that ends with either of them.
//!
//! ```text
//! server                     init
//!   Prepare(plan) ──────────▶   mounts, listens
//!   ◀────────────── Prepared    (or Failed: it ends)
//!   Start ──────────────────▶   drops everything, starts the program
//!   ◀─────────────── Started    (or Failed)
//!   Signal, Exec, Sockets ──▶
//!   ◀──── Started, Exited, Sockets
//! ```

use std::io;

use crate::mounts::plan::RootPlan;
use crate::spec::Ending;
use crate::wire::{Reader, Writer, garbled};

/// The first program's number; the others are numbered by the server from 1.
pub(crate) const FIRST: u64 = 0;

/// What the server asks the helper for. Travels with the init's end of the channel, and with the folder of the cgroup
/// to be born into, when there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Birth {
    /// Who stands behind the one user of the sandbox.
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Whether the helper may become others: then the supplementary groups are dropped too.
    pub(crate) privileged: bool,
    pub(crate) into_cgroup: bool,
}

impl Birth {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.number(self.uid.into()).number(self.gid.into());
        writer
            .byte(self.privileged.into())
            .byte(self.into_cgroup.into());
        writer.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> io::Result<Self> {
        let mut reader = Reader::new(bytes);
        Ok(Self {
            uid: reader.small()?,
            gid: reader.small()?,
            privileged: reader.byte()? != 0,
            into_cgroup: reader.byte()? != 0,
        })
    }
}

/// What the helper answers: the process, with its pidfd; or what went wrong.
pub(crate) type Born = Result<u32, Refusal>;

/// A step that did not succeed, as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// What was being done, as the end of a sentence: `mount /app`.
    pub(crate) step: String,
    /// The number of the system's error, 0 when it was none of the system's.
    pub(crate) errno: i32,
    pub(crate) text: String,
}

impl Refusal {
    pub(crate) fn new(step: impl Into<String>, error: &io::Error) -> Self {
        let mut text = error.to_string();
        text.truncate(text.floor_char_boundary(1000));
        let mut step = step.into();
        step.truncate(step.floor_char_boundary(1000));
        Self {
            step,
            errno: error.raw_os_error().unwrap_or(0),
            text,
        }
    }

    pub(crate) fn write(&self, writer: &mut Writer) {
        writer
            .text(&self.step)
            .number(self.errno.unsigned_abs().into())
            .text(&self.text);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> io::Result<Self> {
        Ok(Self {
            step: reader.text()?,
            errno: reader.small()?,
            text: reader.text()?,
        })
    }
}

/// Says at which step something went wrong.
pub(crate) trait During<T> {
    fn during(self, step: impl Into<String>) -> Result<T, Refusal>;
    fn during_with(self, step: impl FnOnce() -> String) -> Result<T, Refusal>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, step: impl Into<String>) -> Result<T, Refusal> {
        self.during_with(|| step.into())
    }

    fn during_with(self, step: impl FnOnce() -> String) -> Result<T, Refusal> {
        self.map_err(|error| Refusal::new(step(), &error.into()))
    }
}

impl From<Refusal> for crate::Failure {
    fn from(refusal: Refusal) -> Self {
        let source = match refusal.errno {
            0 => io::Error::other(refusal.text),
            errno => io::Error::from_raw_os_error(errno),
        };
        Self::new(refusal.step, source)
    }
}

pub(crate) fn encode_born(born: &Born) -> Vec<u8> {
    let mut writer = Writer::new();
    match born {
        Ok(pid) => {
            writer.byte(0).number((*pid).into());
        }
        Err(refusal) => refusal.write(writer.byte(1)),
    }
    writer.finish()
}

pub(crate) fn decode_born(bytes: &[u8]) -> io::Result<Born> {
    let mut reader = Reader::new(bytes);
    match reader.byte()? {
        0 => Ok(Ok(reader.small()?)),
        1 => Ok(Err(Refusal::read(&mut reader)?)),
        _ => Err(garbled()),
    }
}

/// Which sockets the server wants to dial with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    fn byte(self) -> u8 {
        match self {
            Self::V4 => 4,
            Self::V6 => 6,
        }
    }

    fn from_byte(byte: u8) -> io::Result<Self> {
        match byte {
            4 => Ok(Self::V4),
            6 => Ok(Self::V6),
            _ => Err(garbled()),
        }
    }
}

/// From the server to the init of a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// With a memory file that holds the [`Plan`], the three standard streams, the ways into its cgroups, and the
    /// folders to mount.
    Prepare {
        cgroups: u8,
    },
    Start,
    /// To the process group of a program.
    Signal {
        program: u64,
        signal: i32,
    },
    /// With a memory file that holds the [`Program`], and its three standard streams.
    Exec {
        program: u64,
    },
    Sockets {
        family: Family,
        count: u8,
    },
}

impl Order {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut writer = Writer::new();
        match self {
            Self::Prepare { cgroups } => writer.byte(1).byte(cgroups),
            Self::Start => writer.byte(2),
            Self::Signal { program, signal } => writer
                .byte(3)
                .number(program)
                .number(signal.unsigned_abs().into()),
            Self::Exec { program } => writer.byte(4).number(program),
            Self::Sockets { family, count } => writer.byte(5).byte(family.byte()).byte(count),
        };
        writer.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> io::Result<Self> {
        let mut reader = Reader::new(bytes);
        match reader.byte()? {
            1 => Ok(Self::Prepare {
                cgroups: reader.byte()?,
            }),
            2 => Ok(Self::Start),
            3 => Ok(Self::Signal {
                program: reader.number()?,
                signal: reader.small()?,
            }),
            4 => Ok(Self::Exec {
                program: reader.number()?,
            }),
            5 => Ok(Self::Sockets {
                family: Family::from_byte(reader.byte()?)?,
                count: reader.byte()?,
            }),
            _ => Err(garbled()),
        }
    }
}

/// From the init of a sandbox to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// With the listeners of our own doors, in the order of the plan.
    Prepared,
    Started {
        program: u64,
    },
    Failed {
        program: u64,
        refusal: Refusal,
    },
    Exited {
        program: u64,
        ending: Ending,
    },
    /// With the sockets; with none of them when the kernel gave none.
    Sockets {
        family: Family,
        errno: i32,
    },
}

impl Report {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        match self {
            Self::Prepared => {
                writer.byte(1);
            }
            Self::Started { program } => {
                writer.byte(2).number(*program);
            }
            Self::Failed { program, refusal } => refusal.write(writer.byte(3).number(*program)),
            Self::Exited { program, ending } => {
                let (kind, value) = match ending {
                    Ending::Code(code) => (0, *code),
                    Ending::Signal(signal) => (1, *signal),
                };
                writer
                    .byte(4)
                    .number(*program)
                    .byte(kind)
                    .number(value.unsigned_abs().into());
            }
            Self::Sockets { family, errno } => {
                writer
                    .byte(5)
                    .byte(family.byte())
                    .number(errno.unsigned_abs().into());
            }
        }
        writer.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> io::Result<Self> {
        let mut reader = Reader::new(bytes);
        match reader.byte()? {
            1 => Ok(Self::Prepared),
            2 => Ok(Self::Started {
                program: reader.number()?,
            }),
            3 => Ok(Self::Failed {
                program: reader.number()?,
                refusal: Refusal::read(&mut reader)?,
            }),
            4 => Ok(Self::Exited {
                program: reader.number()?,
                ending: match reader.byte()? {
                    0 => Ending::Code(reader.small()?),
                    1 => Ending::Signal(reader.small()?),
                    _ => return Err(garbled()),
                },
            }),
            5 => Ok(Self::Sockets {
                family: Family::from_byte(reader.byte()?)?,
                errno: reader.small()?,
            }),
            _ => Err(garbled()),
        }
    }
}

/// A program to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) argv: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) cwd: String,
}

impl Program {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        self.write(&mut writer);
        writer.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> io::Result<Self> {
        Self::read(&mut Reader::new(bytes))
    }

    fn write(&self, writer: &mut Writer) {
        writer.list(&self.argv, |writer, word| {
            writer.text(word);
        });
        writer.list(&self.env, |writer, (name, value)| {
            writer.text(name).text(value);
        });
        writer.text(&self.cwd);
    }

    fn read(reader: &mut Reader<'_>) -> io::Result<Self> {
        Ok(Self {
            argv: reader.list(Reader::text)?,
            env: reader.list(|reader| Ok((reader.text()?, reader.text()?)))?,
            cwd: reader.text()?,
        })
    }
}

/// Everything that an init must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) hostname: String,
    pub(crate) root: RootPlan,
    /// The ports of our own doors.
    pub(crate) doors: Vec<u16>,
    /// Rules for its own network namespace; see [`crate::network::raise_fence`].
    pub(crate) fence: Vec<u8>,
    pub(crate) bounds: Bounds,
    pub(crate) program: Program,
    /// Whether supplementary groups can be dropped.
    pub(crate) privileged: bool,
}

/// The limits that every process has for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) files: u64,
    pub(crate) file_bytes: u64,
    pub(crate) pids: u64,
    /// Memory of a process; for machines where nothing bounds that of the sandbox as a whole.
    pub(crate) data_bytes: Option<u64>,
}

impl Plan {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.text(&self.hostname);
        self.root.write(&mut writer);
        writer.list(&self.doors, |writer, port| {
            writer.number((*port).into());
        });
        writer.blob(&self.fence);
        let bounds = self.bounds;
        let data = bounds.data_bytes.unwrap_or(u64::MAX);
        writer
            .number(bounds.files)
            .number(bounds.file_bytes)
            .number(bounds.pids)
            .number(data);
        self.program.write(&mut writer);
        writer.byte(self.privileged.into());
        writer.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> io::Result<Self> {
        let mut reader = Reader::new(bytes);
        Ok(Self {
            hostname: reader.text()?,
            root: RootPlan::read(&mut reader)?,
            doors: reader.list(Reader::small)?,
            fence: reader.blob()?.to_vec(),
            bounds: Bounds {
                files: reader.number()?,
                file_bytes: reader.number()?,
                pids: reader.number()?,
                data_bytes: Some(reader.number()?).filter(|bytes| *bytes != u64::MAX),
            },
            program: Program::read(&mut reader)?,
            privileged: reader.byte()? != 0,
        })
    }
}
