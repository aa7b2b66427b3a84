//! `POST /-/reload`: has the configuration read again, and tells what came of it.

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header::ALLOW};
use tokio::sync::{mpsc, oneshot};

use super::routes::{Answer, said, text};

/// Asks for the configuration to be read again.
#[derive(Clone)]
pub struct Reloads(mpsc::Sender<Reload>);

/// A wish for the configuration to be read again.
pub struct Reload {
    /// Whether only to tell what would change.
    pub dry_run: bool,
    /// Who waits for what came of it, where anybody does: lines for people, also where it failed.
    pub answer: Option<oneshot::Sender<Result<String, String>>>,
}

/// Wishes that wait; all that wait are met by one reading.
const WAITING: usize = 64;

impl Reloads {
    /// The one side and the other.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Reload>) {
        let (wishes, receiver) = mpsc::channel(WAITING);
        (Self(wishes), receiver)
    }

    /// Asks and does not wait; where many have asked already, they have asked for this one too.
    pub fn request(&self) {
        let _ = self.0.try_send(Reload {
            dry_run: false,
            answer: None,
        });
    }

    /// Asks and waits for the answer; `None` where nobody reads the configuration any more, or too
    /// many wait already.
    async fn ask(&self, dry_run: bool) -> Option<Result<String, String>> {
        let (answer, answered) = oneshot::channel();
        let wish = Reload {
            dry_run,
            answer: Some(answer),
        };
        self.0.try_send(wish).ok()?;
        answered.await.ok()
    }

    /// Answers a request for `/-/reload`.
    pub(super) async fn answer(&self, method: &Method, query: &str) -> Answer {
        if method != Method::POST {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "use POST\n");
            let allowed = HeaderValue::from_static("POST");
            answer.headers_mut().insert(ALLOW, allowed);
            return answer;
        }
        let dry_run = match query {
            "" => false,
            "dry_run=true" => true,
            _ => return text(StatusCode::BAD_REQUEST, "dry_run=true is all there is\n"),
        };
        match self.ask(dry_run).await {
            Some(Ok(told)) => said(StatusCode::OK, Bytes::from(told)),
            Some(Err(wrong)) => said(StatusCode::INTERNAL_SERVER_ERROR, Bytes::from(wrong)),
            None => text(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many reloads wait, or the daemon is shutting down\n",
            ),
        }
    }
}
