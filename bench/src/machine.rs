//! The machine that we measure on: which core the server gets and which the load, and what to say about it.

use std::fs;

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// One core for the server under test, another for everything that loads it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    pub(crate) server: usize,
    pub(crate) load: usize,
    /// Both run on both, wherever the kernel puts them.
    shared: bool,
}

impl Cores {
    /// The first two cores that we may use. With one core alone the numbers would say nothing.
    pub(crate) fn choose() -> Result<Self> {
        let allowed = sched_getaffinity(None).context("could not ask for the allowed cores")?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        match (cores.next(), cores.next()) {
            (Some(server), Some(load)) => Ok(Self {
                server,
                load,
                shared: false,
            }),
            _ => bail!("two cores are needed, one for the server and one for the load"),
        }
    }

    /// The same two, of which everybody may use both.
    pub(crate) fn shared(self) -> Self {
        Self {
            shared: true,
            ..self
        }
    }

    /// Moves this thread to where servers run, so that what it starts from now on runs there.
    pub(crate) fn enter_server(self) -> Result<()> {
        self.enter(self.server)
    }

    /// Moves this thread to where the load comes from.
    pub(crate) fn enter_load(self) -> Result<()> {
        self.enter(self.load)
    }

    fn enter(self, core: usize) -> Result<()> {
        match self.shared {
            true => pin_to(&[self.server, self.load]),
            false => pin(core),
        }
    }
}

/// Keeps this thread, and every process that it starts from now on, on one core.
pub(crate) fn pin(core: usize) -> Result<()> {
    pin_to(&[core])
}

fn pin_to(cores: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core);
    }
    sched_setaffinity(None, &set).with_context(|| format!("could not move to {cores:?}"))
}

/// Takes as many file descriptors as the system allows, for us and for the servers that we start. Says how many.
pub(crate) fn raise_file_limit() -> Result<u64> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let most = maximum.unwrap_or(1 << 20);
    let wish = Rlimit {
        current: Some(most),
        maximum,
    };
    setrlimit(Resource::Nofile, wish).context("could not raise the limit of open files")?;
    Ok(most)
}

/// One line about processor, cores and kernel.
pub(crate) fn describe(cores: Cores, files: u64) -> String {
    let model = fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| model_name(&text))
        .unwrap_or_else(|| "unknown processor".into());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "{model}, {count} cores, Linux {}, {files} files; server on core {}, load generator on core {}",
        kernel.trim(),
        cores.server,
        cores.load
    )
}

fn model_name(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo
        .lines()
        .find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_named_by_its_first_core() {
        let text = "processor\t: 0\nmodel name\t: Fast One @ 3 GHz\n\nmodel name\t: Other\n";
        assert_eq!(model_name(text).as_deref(), Some("Fast One @ 3 GHz"));
        assert_eq!(model_name("processor : 0"), None);
    }
}
