//! Calls whose answer is needed: all of it, and no more than a bound.

#[cfg(test)]
mod tests;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::{Egress, EgressError, TIME_MAX, check_literal, check_target, root_cause};

/// What is asked.
#[derive(Debug)]
pub struct Call<'a> {
    pub method: Method,
    pub url: &'a str,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// An answer that is longer is no answer.
    pub answer_max_bytes: usize,
}

/// What was answered. Where it sends one somewhere else, that is the answer: nothing is followed.
#[derive(Clone, Debug)]
pub struct Fetched {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Egress {
    /// Makes a call and waits for its whole answer, in the same bounds of time and place as any other.
    pub async fn fetch(&self, call: Call<'_>) -> Result<Fetched, EgressError> {
        let target = check_target(call.url)
            .map_err(|fault| EgressError::Refused(format!("the target's URL {fault}")))?;
        match tokio::time::timeout(TIME_MAX, self.exchange_whole(target, call)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(EgressError::Timeout),
        }
    }

    async fn exchange_whole(&self, target: Uri, call: Call<'_>) -> Result<Fetched, EgressError> {
        let answer_max_bytes = call.answer_max_bytes;
        let covered = self.door.covers(&target);
        if !covered {
            check_literal(&target, &self.policy)?;
        }
        let mut request = Request::new(call.body);
        *request.method_mut() = call.method;
        *request.uri_mut() = target;
        *request.headers_mut() = call.headers;
        if covered {
            let (head, body) = self.door.call(request).await.into_parts();
            if body.len() > answer_max_bytes {
                return Err(EgressError::TooLong(answer_max_bytes));
            }
            return Ok(Fetched {
                status: head.status,
                headers: head.headers,
                body,
            });
        }
        let (head, body) = self.send(request).await?.into_parts();
        let body = Limited::new(body, answer_max_bytes).collect().await;
        let body = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => EgressError::TooLong(answer_max_bytes),
            false => EgressError::Broken(root_cause(error.as_ref())),
        })?;
        Ok(Fetched {
            status: head.status,
            headers: head.headers,
            body: body.to_bytes(),
        })
    }
}
