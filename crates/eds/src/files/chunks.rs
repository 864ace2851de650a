//! A file in pieces, each a request of its own (`eds.md` §10.3). They follow one another; a piece that was lost on the
//! way is sent again, and so is one of which only the reply was lost.

use http::HeaderMap;
use http::header::CONTENT_RANGE;
use pilvi_core::complete;
use pilvi_model::{ContentRange, Error, ObjectId, Result};
use pilvi_store::backend::{Upload, Written};
use pilvi_web::{Inflow, Refusal};

use super::turns::Turn;
use crate::Eds;
use crate::caller::Caller;

impl Eds {
    /// Takes the next piece of a file. The last one makes it whole. Gives the file as it stands then.
    pub(crate) async fn take_chunk(
        &self,
        caller: &Caller,
        id: ObjectId,
        headers: &HeaderMap,
        mut inflow: Inflow,
    ) -> Result<String, Refusal> {
        // Before anybody else's turn is ended for this one.
        let asker = caller.asker.clone();
        caller.backend.find_upload(asker, id, None).await?;
        let range = range(headers, &inflow)?;
        self.0.uploads.check_size(range.total())?;
        let _place = self.0.uploads.enter(caller.account).await?;
        let turn = self.0.uploads.turns.take((caller.backend.id, id)).await;
        let mut turn = turn.ok_or_else(taken_over)?;
        let asker = caller.asker.clone();
        let upload = caller.backend.find_upload(asker, id, Some(range)).await?;
        if upload.is_whole && upload.has_piece {
            inflow.drain().await?;
            return Ok(upload.file.text);
        }
        check(&upload, range)?;
        let text = match upload.has_piece {
            true => {
                inflow.drain().await?;
                upload.file.text
            }
            false => {
                self.store_chunk(caller, id, range, &mut inflow, &mut turn)
                    .await?
            }
        };
        let received = upload.received.max(range.end());
        match received == range.total() {
            true => Ok(self.make_whole(caller, id, range.total(), turn).await?),
            false => Ok(text),
        }
    }

    /// Stores a piece while it comes, and writes down that it is there.
    async fn store_chunk(
        &self,
        caller: &Caller,
        id: ObjectId,
        range: ContentRange,
        inflow: &mut Inflow,
        turn: &mut Turn,
    ) -> Result<String, Refusal> {
        let (store, backend) = (&self.0.store, caller.backend.id);
        store.check_room_beside(backend, range.length())?;
        let mut chunk = self.0.blobs.chunk(backend, id, range.start()).await?;
        let mut length = 0;
        loop {
            let piece = tokio::select! {
                piece = inflow.next() => piece?,
                () = turn.wanted() => return Err(taken_over().into()),
            };
            let Some(piece) = piece else {
                break;
            };
            length += piece.len() as u64;
            chunk.write(piece).await?;
        }
        if length != range.length() {
            let message = "the piece ended before its end; send it again";
            return Err(Error::bad_request(message).into());
        }
        chunk.finish().await?;
        store.add_bytes_beside(backend, range.length());
        let author = caller.author(self);
        let written = caller.backend.take_piece(id, range, author).await?;
        Ok(self.published(caller, written).object.text)
    }

    /// Puts the pieces together. It runs to its end although the client goes.
    async fn make_whole(
        &self,
        caller: &Caller,
        id: ObjectId,
        bytes: u64,
        turn: Turn,
    ) -> Result<String> {
        let (eds, caller) = (self.clone(), caller.clone());
        let work = async move {
            let _turn = turn;
            let written = eds.join_chunks(&caller, id, bytes).await?;
            Ok(eds.took_in(&caller, written).object.text)
        };
        complete(&self.0.people.tasks, "put a file together", work).await
    }

    async fn join_chunks(&self, caller: &Caller, id: ObjectId, bytes: u64) -> Result<Written> {
        let backend = &caller.backend;
        let era = backend.blob_era().await?;
        let blob = self.0.blobs.join(backend.id, id, bytes).await?;
        let author = caller.author(self);
        // Refused, for example by a rule of the object that is to name it, the bytes stay: the same piece again tries
        // again, until the upload is collected.
        let written = backend.complete_file(id, blob, era, author).await?;
        // That they are to be removed is written down, so the collector does it if this does not.
        if let Err(error) = self.0.blobs.drop_upload(backend.id, id).await {
            tracing::warn!(%error, backend = %backend.id, file = %id, "the pieces of a file were not removed yet");
        }
        Ok(written)
    }
}

/// Which bytes the request carries.
fn range(headers: &HeaderMap, inflow: &Inflow) -> Result<ContentRange> {
    let Some(value) = headers.get(CONTENT_RANGE) else {
        return Err(Error::bad_request(
            "a piece of a file needs the header Content-Range: START-END/TOTAL, such as 0-1024/2837",
        ));
    };
    let length = inflow.length().ok_or_else(|| {
        Error::bad_request(
            "a piece of a file needs the header Content-Length; send it without chunked encoding",
        )
    })?;
    ContentRange::parse(value.as_bytes(), length)
}

/// Whether this piece goes on where the upload is.
fn check(upload: &Upload, range: ContentRange) -> Result<()> {
    if upload.is_whole {
        return Err(Error::bad_request(
            "this file is whole already; to replace it, upload another one and set the property to that",
        ));
    }
    if let Some(total) = upload.total
        && total != range.total()
    {
        return Err(Error::bad_request(format!(
            "Content-Range says that the file has {} bytes, and the pieces before said {total}",
            range.total()
        )));
    }
    if upload.has_piece || upload.received == range.start() {
        return Ok(());
    }
    let what = match range.start() > upload.received {
        true => "leaves a gap",
        false => "overlaps what is there",
    };
    Err(Error::bad_request(format!(
        "this piece {what}: {} bytes of the file are there; go on with Content-Range {}-END/{}",
        upload.received,
        upload.received,
        range.total()
    )))
}

fn taken_over() -> Error {
    Error::conflict("another request is sending a piece of this file now, and has taken over")
}
