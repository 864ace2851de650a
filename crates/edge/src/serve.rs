//! The requests of one connection, one after the other.

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use pilvi_base::secret::{hex, random_bytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use crate::client::{Client, HEAD_READ_BYTES};
use crate::edge::{After, Ends, Shared};
use crate::exchange::{End, Exchange, Rules};
use crate::framing::BodyReader;
use crate::head::{Asked, Forwarding, HEADERS_MAX, RequestHead, Version};
use crate::note::{Course, Note};
use crate::reach::{Link, Unreached, Wish};
use crate::spare;
use crate::trouble::{Manner, Trouble};
use crate::tunnel::{Fall, Tunnel};
use crate::{Code, Edge};

impl Edge {
    /// Serves HTTP/1 on a connection whose next head is for an app, until the client leaves, is refused, or sends a
    /// head that is for no app. `read` is what has been read of it.
    pub async fn serve<S>(&self, stream: S, read: BytesMut, ends: Ends) -> After<S>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let shared = Arc::clone(self.shared());
        Box::pin(Connection::new(shared, stream, read, ends).run()).await
    }
}

/// One client's connection.
struct Connection<S> {
    edge: Arc<Shared>,
    client: Client<S>,
    ends: Ends,
    peer: String,
    port: String,
    ids: RequestIds,
    /// For the app. Begins with the head of the current request.
    out: BytesMut,
    /// For the client.
    back: BytesMut,
    /// The current request, for the log.
    note: Note,
    wait: Option<(Wait, Instant)>,
    /// How far the inbox is known to hold no end of a head.
    searched: usize,
}

/// What the client is being waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    NextRequest,
    RestOfHead,
}

/// What comes next on a connection.
enum Turn {
    Request(Asked),
    Refused(Trouble),
    NotMine,
    End,
}

/// What came of one exchange.
struct Ending {
    end: End,
    over: Instant,
    course: Course,
    /// The client has sent all of its request.
    request_over: bool,
}

/// Whether a connection goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Going {
    On,
    /// The client may be sending something that nobody will read.
    Linger,
    Over,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection<S> {
    fn new(edge: Arc<Shared>, stream: S, read: BytesMut, ends: Ends) -> Self {
        Self {
            edge,
            client: Client::new(stream, read),
            ends,
            peer: ends.peer.ip().to_canonical().to_string(),
            port: ends.local.port().to_string(),
            ids: RequestIds::new(),
            out: BytesMut::new(),
            back: BytesMut::new(),
            note: Note::default(),
            wait: None,
            searched: 0,
        }
    }

    async fn run(mut self) -> After<S> {
        let edge = Arc::clone(&self.edge);
        let mut stopping = pin!(edge.tasks.stopping());
        let going = loop {
            let turn = std::future::poll_fn(|cx| self.poll_next(cx, stopping.as_mut())).await;
            let going = match turn {
                Turn::Request(asked) => self.answer(asked, stopping.as_mut()).await,
                Turn::Refused(trouble) => self.refuse(trouble).await,
                Turn::NotMine => {
                    let Client { stream, inbox, .. } = self.client;
                    return After::NotMine(stream, inbox);
                }
                Turn::End => Going::Over,
            };
            if going != Going::On {
                break going;
            }
        };
        let linger = match going {
            Going::Linger if !self.client.ended => edge.settings.linger,
            _ => Duration::ZERO,
        };
        close(&mut self.client.stream, linger).await;
        After::Closed
    }

    /// Waits for the next head, and takes it.
    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        mut stopping: Pin<&mut impl Future<Output = ()>>,
    ) -> Poll<Turn> {
        loop {
            if self.may_be_complete()
                && let Some(turn) = self.take_head()
            {
                self.wait = None;
                self.searched = 0;
                return Poll::Ready(turn);
            }
            if self.client.inbox.len() > self.edge.settings.head_max_bytes {
                return Poll::Ready(Turn::Refused(Trouble::HEAD_TOO_LARGE));
            }
            match self.client.poll_fill(cx, HEAD_READ_BYTES) {
                Poll::Ready(Ok(read)) if read > 0 => {}
                Poll::Ready(_) => return Poll::Ready(Turn::End),
                Poll::Pending => {
                    let resting = self.client.inbox.is_empty();
                    if resting {
                        self.rest();
                        if stopping.as_mut().poll(cx).is_ready() {
                            return Poll::Ready(Turn::End);
                        }
                    }
                    return self.poll_waited(cx, resting);
                }
            }
        }
    }

    /// Whether the inbox may hold a whole head. Looks at each byte once, however slowly they come.
    fn may_be_complete(&mut self) -> bool {
        let inbox = &self.client.inbox;
        let from = self.searched.saturating_sub(3);
        self.searched = inbox.len();
        let fresh = inbox.get(from..).unwrap_or_default();
        memchr::memchr_iter(b'\n', fresh)
            .any(|at| matches!(fresh[at + 1..], [b'\n', ..] | [b'\r', b'\n', ..]))
            || (from == 0 && !is_plausible(inbox))
    }

    /// A connection at rest holds no buffers.
    fn rest(&mut self) {
        for buffer in [&mut self.client.inbox, &mut self.out, &mut self.back] {
            spare::give(buffer);
        }
    }

    fn poll_waited(&mut self, cx: &mut Context<'_>, resting: bool) -> Poll<Turn> {
        let settings = &self.edge.settings;
        let (wait, limit) = match resting {
            true => (Wait::NextRequest, settings.keep_alive_timeout),
            false => (Wait::RestOfHead, settings.head_timeout),
        };
        let deadline = match self.wait {
            Some((since, deadline)) if since == wait => deadline,
            _ => {
                let deadline = Instant::now() + limit;
                self.wait = Some((wait, deadline));
                deadline
            }
        };
        ready!(self.client.timer.poll_passed(cx, deadline));
        Poll::Ready(match resting {
            true => Turn::End,
            false => Turn::Refused(Trouble::TOO_SLOW),
        })
    }

    /// Takes a head off the inbox and writes down what the app will get. `None` when it is incomplete.
    fn take_head(&mut self) -> Option<Turn> {
        let mut slots = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let head = match RequestHead::parse(&self.client.inbox, &mut slots) {
            Ok(Some(head)) if head.len > self.edge.settings.head_max_bytes => {
                return Some(Turn::Refused(Trouble::HEAD_TOO_LARGE));
            }
            Ok(Some(head)) => head,
            Ok(None) => return None,
            Err(fault) => return Some(Turn::Refused(fault.into())),
        };
        if !self.edge.owns(head.host) {
            return Some(Turn::NotMine);
        }
        let forwarding = Forwarding {
            peer: &self.peer,
            proto: if self.ends.secure { "https" } else { "http" },
            port: &self.port,
            request_id: self.ids.next(),
        };
        self.note.set(
            head.method,
            head.target,
            head.host,
            head.request_id(&forwarding),
        );
        for buffer in [&mut self.out, &mut self.back] {
            if buffer.capacity() == 0 {
                *buffer = spare::take();
            }
            buffer.clear();
        }
        head.write(&mut self.out, &forwarding);
        let (len, asked) = (head.len, head.asked);
        self.client.inbox.advance(len);
        Some(Turn::Request(asked))
    }

    /// Has one request answered by its app.
    async fn answer(
        &mut self,
        asked: Asked,
        stopping: Pin<&mut impl Future<Output = ()>>,
    ) -> Going {
        let rules = Rules {
            asked,
            keep_alive: asked.keep_alive && !self.edge.tasks.is_stopping(),
            timeout: self.edge.settings.request_timeout,
            head_max_bytes: self.edge.settings.head_max_bytes,
            pool_idle_timeout: self.edge.settings.pool_idle_timeout,
        };
        let mut wish = match asked.repeatable {
            true => Wish::Any,
            false => Wish::Fresh,
        };
        let mut reader = BodyReader::new(asked.framing);
        loop {
            let mut link = match self.edge.reach(self.note.host().as_bytes(), wish).await {
                Ok(link) => link,
                Err(unreached) => return self.unreached(rules, unreached).await,
            };
            let ending = self.exchange(rules, &mut link, &mut reader).await;
            if ending.end == End::Stale {
                wish = Wish::New;
                continue;
            }
            return self.settle(rules, link, ending, stopping).await;
        }
    }

    async fn exchange(&mut self, rules: Rules, link: &mut Link, reader: &mut BodyReader) -> Ending {
        let started = Instant::now();
        let connect = link.connect;
        let (client, out, back) = (&mut self.client, &mut self.out, &mut self.back);
        let mut exchange = Exchange::new(rules, client, link, reader, out, back);
        let end = std::future::poll_fn(|cx| exchange.poll(cx)).await;
        let over = Instant::now();
        Ending {
            end,
            over,
            course: Course {
                status: exchange.status,
                bytes: exchange.bytes,
                connect,
                service: over - started,
            },
            request_over: exchange.is_request_over(),
        }
    }

    /// Does what the end of an exchange asks for: the log, the connection to the app, and the client's.
    async fn settle(
        &mut self,
        rules: Rules,
        link: Link,
        ending: Ending,
        stopping: Pin<&mut impl Future<Output = ()>>,
    ) -> Going {
        let course = ending.course;
        match ending.end {
            End::Done {
                upstream_rests,
                client_stays,
            } => {
                self.report(&link, course, None);
                if let Some(rests) = upstream_rests {
                    self.edge.park(link, ending.over, rests);
                }
                match client_stays && !self.client.is_done() {
                    true => Going::On,
                    false if ending.request_over && self.client.inbox.is_empty() => Going::Over,
                    false => Going::Linger,
                }
            }
            End::Upgraded => self.tunnel(link, course, stopping).await,
            // A stale connection has been replaced before.
            End::Stale => Going::Over,
            End::Failed(trouble) => {
                let course = Course {
                    status: trouble.status,
                    ..course
                };
                self.report(&link, course, trouble.code);
                drop(link);
                self.tell(trouble, rules).await
            }
            End::Cut(code) => {
                self.report(&link, course, Some(code));
                Going::Over
            }
            End::Gone => {
                self.report(&link, course, Some(Code::H27));
                Going::Over
            }
        }
    }

    async fn tunnel(
        &mut self,
        link: Link,
        mut course: Course,
        mut stopping: Pin<&mut impl Future<Output = ()>>,
    ) -> Going {
        spare::give(&mut self.out);
        spare::give(&mut self.back);
        let Link {
            stream,
            ticket,
            app,
            ..
        } = link;
        let since = Instant::now();
        let mut tunnel = Tunnel::new(&mut self.client, stream, self.edge.settings.idle_timeout);
        let fall = std::future::poll_fn(|cx| tunnel.poll(cx, stopping.as_mut())).await;
        course.bytes += tunnel.bytes;
        course.service += since.elapsed();
        let code = (fall == Fall::Idle).then_some(Code::H15);
        let upstream = ticket.slot().upstream.id();
        self.edge.report(
            &app,
            Some(upstream),
            &self.note,
            course,
            code,
            self.ends.secure,
        );
        Going::Over
    }

    /// Refuses what is no request. Nothing on the connection means anything after it.
    async fn refuse(&mut self, trouble: Trouble) -> Going {
        self.note.set("", "", b"", self.ids.next());
        let manner = Manner {
            html: false,
            keep_alive: false,
            is_head: false,
            request_id: self.note.request_id(),
        };
        self.back.clear();
        trouble.write(&mut self.back, manner);
        self.send_back().await;
        Going::Linger
    }

    async fn unreached(&mut self, rules: Rules, unreached: Unreached) -> Going {
        let Unreached {
            trouble,
            app,
            connect,
        } = unreached;
        if let Some(app) = app {
            let course = Course {
                status: trouble.status,
                connect,
                ..Course::default()
            };
            self.edge.report(
                &app,
                None,
                &self.note,
                course,
                trouble.code,
                self.ends.secure,
            );
        }
        self.tell(trouble, rules).await
    }

    /// Answers in the app's place. The connection goes on when nothing is left of the request.
    async fn tell(&mut self, trouble: Trouble, rules: Rules) -> Going {
        let asked = rules.asked;
        let keep_alive =
            rules.keep_alive && asked.is_bodiless() && asked.version == Version::Http11;
        let manner = Manner {
            html: asked.wants_html,
            keep_alive,
            is_head: asked.is_head,
            request_id: self.note.request_id(),
        };
        self.back.clear();
        trouble.write(&mut self.back, manner);
        let sent = self.send_back().await;
        match keep_alive && sent && !self.client.is_done() {
            true => Going::On,
            false => Going::Linger,
        }
    }

    /// Sends what is in `back`, to a client that reads it in time. Says whether it did.
    async fn send_back(&mut self) -> bool {
        let (client, back) = (&mut self.client, &self.back);
        let mut written = 0;
        let send = std::future::poll_fn(|cx| client.poll_send(cx, back, &mut written));
        let sent = tokio::time::timeout(self.edge.settings.request_timeout, send).await;
        matches!(sent, Ok(Ok(())))
    }

    fn report(&self, link: &Link, course: Course, code: Option<Code>) {
        let upstream = link.ticket.slot().upstream.id();
        self.edge.report(
            &link.app,
            Some(upstream),
            &self.note,
            course,
            code,
            self.ends.secure,
        );
    }
}

/// Whether this can be the beginning of a request. What cannot is not waited for.
fn is_plausible(inbox: &[u8]) -> bool {
    let first = inbox.iter().find(|byte| !matches!(byte, b'\r' | b'\n'));
    first.is_none_or(|byte| byte.is_ascii_graphic())
}

/// Ids for requests that bring none: random for each connection, then counted.
struct RequestIds {
    text: String,
    count: u64,
}

impl RequestIds {
    const PREFIX: usize = 20;

    fn new() -> Self {
        Self {
            text: hex(&random_bytes::<16>()),
            count: 0,
        }
    }

    fn next(&mut self) -> &str {
        if self.count > 0 {
            use std::fmt::Write as _;
            self.text.truncate(Self::PREFIX);
            // Writing into a string cannot fail.
            let _ = write!(self.text, "{:012x}", self.count);
        }
        self.count += 1;
        &self.text
    }
}

/// Says goodbye. A client that is still sending gets `linger` to read our last words: a socket closed with unread
/// input resets, and the reset overtakes the reply.
async fn close<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, linger: Duration) {
    let farewell = async {
        stream.shutdown().await?;
        if linger.is_zero() {
            return io::Result::Ok(());
        }
        let mut ignored = [0; 1024];
        while stream.read(&mut ignored).await? > 0 {}
        Ok(())
    };
    // A client that takes longer has read it, or does not want to.
    let _ = tokio::time::timeout(linger.max(Duration::from_millis(100)), farewell).await;
}
