//! What is asked of a gateway's sockets on one reactor.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::limits::Limits;
use crate::roster::{Connected, Roster, TagChange};
use crate::socket_id::SocketId;

/// A question with the way of its answer. Who asked may have gone meanwhile.
#[derive(Debug)]
pub(crate) enum Question {
    Find {
        id: SocketId,
        answer: oneshot::Sender<Option<Connected>>,
    },
    /// The sockets, a page of them.
    Page {
        offset: usize,
        limit: usize,
        answer: oneshot::Sender<Section>,
    },
    /// Those of them that have a tag.
    Members {
        tag: Arc<str>,
        offset: usize,
        limit: usize,
        answer: oneshot::Sender<Section>,
    },
    /// How many of them have each of these tags.
    Count {
        tags: Arc<[Arc<str>]>,
        answer: oneshot::Sender<Vec<usize>>,
    },
    /// The next tags behind one, of those that the gateway says who is there of, with how many sockets have each.
    Tags {
        after: Option<Arc<str>>,
        limit: usize,
        answer: oneshot::Sender<Vec<(Arc<str>, usize)>>,
    },
    /// How a socket is known after its tags were changed, if it is there.
    Retag {
        id: SocketId,
        change: TagChange,
        answer: oneshot::Sender<Option<Retagged>>,
    },
}

/// A reactor's part of a list of sockets.
#[derive(Debug, Default)]
pub(crate) struct Section {
    /// What was asked for.
    pub(crate) sockets: Vec<Connected>,
    /// How many there are in all.
    pub(crate) total: usize,
}

/// A socket with its new tags. The error: there would have been too many, and it has the old ones.
pub(crate) type Retagged = Result<Connected, TooManyTags>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManyTags;

impl Question {
    /// The socket that will have other tags after it.
    pub(crate) fn retags(&self) -> Option<SocketId> {
        match self {
            Self::Retag { id, .. } => Some(*id),
            _ => None,
        }
    }

    pub(crate) fn answer(self, roster: Option<&mut Roster>, limits: &Limits) {
        let mut nobody = Roster::default();
        let roster = roster.unwrap_or(&mut nobody);
        match self {
            Self::Find { id, answer } => drop(answer.send(roster.find(id))),
            Self::Page {
                offset,
                limit,
                answer,
            } => {
                let section = Section {
                    sockets: roster.page(offset, limit),
                    total: roster.len(),
                };
                drop(answer.send(section));
            }
            Self::Members {
                tag,
                offset,
                limit,
                answer,
            } => {
                let section = Section {
                    sockets: roster.members(&tag, offset, limit),
                    total: roster.count(&tag),
                };
                drop(answer.send(section));
            }
            Self::Count { tags, answer } => {
                let counts = tags.iter().map(|tag| roster.count(tag));
                drop(answer.send(counts.collect()));
            }
            Self::Tags {
                after,
                limit,
                answer,
            } => drop(answer.send(roster.watched(after.as_deref(), limit))),
            Self::Retag { id, change, answer } => {
                drop(answer.send(retag(roster, id, &change, limits)));
            }
        }
    }
}

fn retag(
    roster: &mut Roster,
    id: SocketId,
    change: &TagChange,
    limits: &Limits,
) -> Option<Retagged> {
    let tags = change.apply(&roster.find(id)?.tags);
    if tags.len() > limits.tags_per_socket_max {
        return Some(Err(TooManyTags));
    }
    roster.retag(id, &tags).map(Ok)
}
