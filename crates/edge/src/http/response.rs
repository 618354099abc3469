//! A response as handlers make it.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use hyper::body::{Frame, SizeHint};
use serde::Serialize;
use tokio::sync::mpsc;

/// How many pieces of a streamed body may wait for a slow reader.
pub const STREAM_PIECES_MAX: usize = 16;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// The body of a response: whole, or in pieces as they come.
#[derive(Debug)]
pub enum Body {
    /// All of it.
    Whole(Bytes),
    /// Sent piece by piece until the sender is dropped; see [`Response::stream`].
    Pieces(mpsc::Receiver<Bytes>),
}

/// A response.
#[derive(Debug)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The header fields; length, date and connection fields are added by the server.
    pub headers: HeaderMap,
    /// The body.
    pub body: Body,
}

impl Response {
    /// A response with this status and nothing else.
    pub fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: Body::Whole(Bytes::new()) }
    }

    /// Plain text.
    pub fn text(status: StatusCode, text: impl Into<String>) -> Self {
        Self::bytes(status, TEXT, text.into().into_bytes())
    }

    /// Bytes with their content type.
    pub fn bytes(status: StatusCode, content_type: HeaderValue, bytes: impl Into<Bytes>) -> Self {
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(CONTENT_TYPE, content_type);
        Self { status, headers, body: Body::Whole(bytes.into()) }
    }

    /// JSON that is already written.
    pub fn json_bytes(status: StatusCode, json: impl Into<Bytes>) -> Self {
        Self::bytes(status, JSON, json)
    }

    /// A value as JSON. A value that cannot be written (a map whose keys are no strings) is answered with 500.
    pub fn json<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(json) => Self::json_bytes(status, json),
            Err(error) => {
                Self::text(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot write the answer: {error}"))
            }
        }
    }

    /// A streamed body and the sender that feeds it. Dropping the sender ends the body.
    pub fn stream(status: StatusCode, content_type: HeaderValue) -> (Self, mpsc::Sender<Bytes>) {
        let (sender, receiver) = mpsc::channel(STREAM_PIECES_MAX);
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(CONTENT_TYPE, content_type);
        (Self { status, headers, body: Body::Pieces(receiver) }, sender)
    }

    /// The same with a header field more.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Pieces(pieces) => {
                pieces.poll_recv(cx).map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Pieces(_) => SizeHint::default(),
        }
    }
}
