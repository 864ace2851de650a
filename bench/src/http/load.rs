//! The closed loop: so many keep-alive connections, each sends its next request as soon as it has its answer.
//!
//! One thread, epoll, one buffer for each connection. The same loop loads every server, so that what the generator
//! itself costs is the same for all.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::response::Response;
use crate::poll::Poll;
use crate::samples::Latencies;
use crate::usage::Tree;

/// The longest time without any answer before a run is given up.
const STALL: Duration = Duration::from_secs(30);

/// What to send to whom for how long.
pub(crate) struct Plan<'a> {
    pub(crate) address: SocketAddr,
    /// Everything whose CPU time counts.
    pub(crate) server: Vec<Tree>,
    pub(crate) connections: usize,
    /// Runs the same load unmeasured first.
    pub(crate) warm_up: Duration,
    pub(crate) length: Duration,
    pub(crate) refusals: Refusals,
    /// Makes the request of this number.
    pub(crate) request: &'a mut dyn FnMut(u64) -> Vec<u8>,
}

/// What becomes of a run when a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusals {
    /// It ends: a number for failed requests would be worth nothing.
    End,
    /// It goes on: only its weight counts.
    GoOn,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) requests: u64,
    pub(crate) seconds: f64,
    pub(crate) cpu: Duration,
    pub(crate) latencies: Latencies,
}

impl Outcome {
    pub(crate) fn per_second(&self) -> f64 {
        self.requests as f64 / self.seconds
    }

    pub(crate) fn cpu_ms_per_request(&self) -> f64 {
        self.cpu.as_secs_f64() * 1000.0 / self.requests as f64
    }
}

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    started: Instant,
}

/// Loads a server as planned.
pub(crate) fn run(plan: &mut Plan<'_>) -> Result<Outcome> {
    let poll = Poll::new()?;
    let mut connections = Vec::with_capacity(plan.connections);
    for key in 0..plan.connections {
        let stream = TcpStream::connect(plan.address).context("could not connect")?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        poll.add(&stream, key as u64)?;
        connections.push(Connection {
            stream,
            input: Vec::with_capacity(32 << 10),
            started: Instant::now(),
        });
    }
    let mut number = 0;
    for connection in &mut connections {
        connection.send(&(plan.request)(number))?;
        number += 1;
    }
    let mut state = Running {
        poll,
        connections,
        number,
        ready: Vec::new(),
    };
    state.until(Instant::now() + plan.warm_up, plan, &mut |_| {})?;
    measure(&mut state, plan)
}

fn measure(state: &mut Running, plan: &mut Plan<'_>) -> Result<Outcome> {
    let mut latencies = Latencies::default();
    let cpu_before = cpu(&plan.server)?;
    let start = Instant::now();
    state.until(start + plan.length, plan, &mut |latency| {
        latencies.add(latency)
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let cpu = cpu(&plan.server)? - cpu_before;
    if latencies.len() == 0 {
        bail!("no request was answered in {seconds:.1} s");
    }
    Ok(Outcome {
        requests: latencies.len() as u64,
        seconds,
        cpu,
        latencies,
    })
}

fn cpu(trees: &[Tree]) -> Result<Duration> {
    trees.iter().map(Tree::cpu).sum()
}

struct Running {
    poll: Poll,
    connections: Vec<Connection>,
    /// Of the next request.
    number: u64,
    ready: Vec<u64>,
}

impl Running {
    fn until(
        &mut self,
        deadline: Instant,
        plan: &mut Plan<'_>,
        answered: &mut dyn FnMut(Duration),
    ) -> Result<()> {
        let mut last_answer = Instant::now();
        while Instant::now() < deadline {
            let mut ready = std::mem::take(&mut self.ready);
            self.poll
                .wait(Some(Duration::from_millis(100)), &mut ready)?;
            for key in &ready {
                let connection = &mut self.connections[usize::try_from(*key)?];
                let Some(status) = connection.receive()? else {
                    continue;
                };
                if plan.refusals == Refusals::End && !(200..300).contains(&status) {
                    let refusal = Response::parse(&connection.input)?.map(|refusal| refusal.body());
                    let text = refusal.unwrap_or_default();
                    bail!(
                        "a request was refused with {status}: {}",
                        String::from_utf8_lossy(&text)
                    );
                }
                last_answer = Instant::now();
                answered(last_answer - connection.started);
                connection.input.clear();
                connection.send(&(plan.request)(self.number))?;
                self.number += 1;
            }
            self.ready = ready;
            if last_answer.elapsed() > STALL {
                bail!("no request was answered for {} s", STALL.as_secs());
            }
        }
        Ok(())
    }
}

impl Connection {
    /// A request of some kilobytes always fits into an empty send buffer.
    fn send(&mut self, request: &[u8]) -> Result<()> {
        self.started = Instant::now();
        let count = self
            .stream
            .write(request)
            .context("the server took no request")?;
        if count < request.len() {
            bail!("the request did not fit into the send buffer");
        }
        Ok(())
    }

    /// Reads what is there; the status once the answer is complete, which then stays in `input`.
    fn receive(&mut self) -> Result<Option<u16>> {
        let mut piece = [0; 32 << 10];
        match (&self.stream).read(&mut piece) {
            Ok(0) => bail!("the server closed a connection"),
            Ok(count) => self.input.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error).context("a connection broke"),
        }
        let Some(response) = Response::parse(&self.input)? else {
            return Ok(None);
        };
        if response.closes {
            bail!("the server does not keep connections alive");
        }
        Ok(Some(response.status))
    }
}
