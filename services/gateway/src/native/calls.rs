//! One connection's requests that are under way.
//!
//! Owns: submissions that wait for their turn, and every call to the documents' log.
//! Invariants: submissions of one document are handed over in order, one at a time, and wait for their commits together; a
//! document that is slow, or being loaded, holds up no other; each is checked against the access policy when it is handed
//! over; bytes that wait are bounded, since the connection reads only while [`Calls::has_room`]; no call lasts for ever.
//! On failure: the request is rejected.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use aetherflow_schema::{
    access::{AuthorizedEdit, Denied, Operation},
    document_log::{Changes, Offered, PendingSubmit, Stretch, Submitted},
    documents::{BoxFuture, DocumentError},
    id::{DocumentId, Offset},
    locks::Fence,
    native::{Fetch, RequestId, Submit, encode, wire},
    record::Entry,
};
use bytes::Bytes;
use futures_util::{Stream, stream::FuturesUnordered};
use tokio::{
    task,
    time::{Instant, timeout},
};

use super::{
    locks::{self, LockRequest},
    voice::Voice,
};
use crate::{metrics::native::Said, websocket::Frame};

/// What a waiting change costs beside its bytes.
const CHANGE_OVERHEAD: usize = 64;

/// Calls that may be under way before nothing more is read.
const CALLS: usize = 1024;

/// Payload bytes of one answer to a fetch, about.
const PAGE_BYTES: usize = 256 << 10;

/// See the [module](self).
pub(super) struct Calls {
    voice: Voice,
    under_way: FuturesUnordered<BoxFuture<'static, Done>>,
    /// Documents to which a submission is being handed over, with those that come next.
    queues: HashMap<DocumentId, VecDeque<Submit>>,
    waiting_bytes: usize,
}

/// A call that ended.
enum Done {
    HandedOver {
        request: RequestId,
        document: DocumentId,
        bytes: usize,
        since: Instant,
        result: Result<PendingSubmit, Failure>,
    },
    Committed {
        request: RequestId,
        document: DocumentId,
        since: Instant,
        result: Result<Submitted, DocumentError>,
    },
    /// It was answered, unless the connection ends.
    Answered(RequestId),
}

/// Why a request was not carried out.
enum Failure {
    Denied(Denied),
    Document(DocumentError),
    /// The client does not take so long a frame.
    TooLong(String),
}

impl From<DocumentError> for Failure {
    fn from(error: DocumentError) -> Self {
        Self::Document(error)
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

impl Failure {
    fn reject(&self, request: RequestId) -> wire::Reject {
        match self {
            Self::Denied(denied) => wire::Reject::never(request, wire::RejectCode::Forbidden, denied.reason),
            Self::Document(error) => wire::Reject::of(request, error),
            Self::TooLong(why) => wire::Reject::never(request, wire::RejectCode::TooLarge, why),
        }
    }
}

impl Calls {
    pub(super) fn new(voice: Voice) -> Self {
        Self {
            voice,
            under_way: FuturesUnordered::new(),
            queues: HashMap::new(),
            waiting_bytes: 0,
        }
    }

    /// Whether more may be read from the client.
    pub(super) fn has_room(&self) -> bool {
        let limit = self.voice.shared.options.limits.waiting_bytes;
        self.waiting_bytes < limit && self.under_way.len() < CALLS
    }

    /// Whether nothing is waiting or under way.
    pub(super) fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Takes a submission.
    pub(super) fn submit(&mut self, submit: Submit) {
        self.waiting_bytes += cost(&submit);
        let document = submit.document.clone();
        let busy = self.queues.contains_key(&document);
        self.queues.entry(document.clone()).or_default().push_back(submit);
        if !busy {
            self.next(&document);
        }
    }

    /// Takes a request for history.
    pub(super) fn fetch(&mut self, fetch: Fetch) {
        let voice = self.voice.clone();
        self.under_way.push(Box::pin(async move {
            let request = fetch.request;
            let document = fetch.document.clone();
            if let Err(failure) = answer(&voice, fetch).await {
                voice.reject(Some(&document), failure.reject(request));
            }
            Done::Answered(request)
        }));
    }

    /// Takes a request about locks.
    pub(super) fn lock(&mut self, request: LockRequest) {
        let voice = self.voice.clone();
        self.under_way.push(Box::pin(async move {
            let id = request.id();
            locks::answer(&voice, request).await;
            Done::Answered(id)
        }));
    }

    /// Waits for a call to end, and goes on from there; ready with the request that was answered, if one was. Pending also
    /// when there is none.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<RequestId>> {
        if self.under_way.is_empty() {
            return Poll::Pending;
        }
        match ready!(Pin::new(&mut self.under_way).poll_next(context)) {
            Some(done) => Poll::Ready(self.on_done(done)),
            None => Poll::Pending,
        }
    }

    fn on_done(&mut self, done: Done) -> Option<RequestId> {
        match done {
            Done::Answered(request) => Some(request),
            Done::HandedOver {
                request,
                document,
                bytes,
                since,
                result,
            } => {
                self.waiting_bytes -= bytes;
                let answered = match result {
                    Ok(pending) => {
                        self.wait_for_commit(request, document.clone(), since, pending);
                        None
                    }
                    Err(failure) => {
                        self.voice.reject(Some(&document), failure.reject(request));
                        Some(request)
                    }
                };
                self.next(&document);
                answered
            }
            Done::Committed {
                request,
                document,
                since,
                result,
            } => {
                match result {
                    Ok(Submitted { offsets, tier }) => {
                        let metrics = &self.voice.shared.metrics.native;
                        metrics.receipt_wait.observe(since.elapsed().as_secs_f64());
                        let receipt = wire::Receipt {
                            request_id: request.0,
                            offsets: offsets.into_iter().map(|offset| offset.0).collect(),
                            tier: wire::Tier::from(tier).into(),
                        };
                        self.voice.say(Some(&document), receipt);
                    }
                    Err(error) => self.voice.reject(Some(&document), wire::Reject::of(request, &error)),
                }
                Some(request)
            }
        }
    }

    /// Hands the next submission to a document, or notes that there is none.
    fn next(&mut self, document: &DocumentId) {
        let Some(queue) = self.queues.get_mut(document) else {
            return;
        };
        let Some(submit) = queue.pop_front() else {
            self.queues.remove(document);
            return;
        };
        let bytes = cost(&submit);
        let Submit {
            request,
            document,
            changes,
            fencing,
        } = submit;
        let voice = self.voice.clone();
        let since = Instant::now();
        self.under_way.push(Box::pin(async move {
            let fence = fencing.map(|token| Fence::new(voice.shared.locks.clone(), document.clone(), token));
            let changes = Changes {
                document: document.clone(),
                changes,
                fence,
            };
            let result = hand_over(&voice, changes).await;
            Done::HandedOver {
                request,
                document,
                bytes,
                since,
                result,
            }
        }));
    }

    fn wait_for_commit(&mut self, request: RequestId, document: DocumentId, since: Instant, pending: PendingSubmit) {
        let limit = self.voice.shared.options.timeouts.request();
        self.under_way.push(Box::pin(async move {
            let late = || DocumentError::Unknown("it was not committed in time".to_owned());
            let result = within(limit, pending, late).await;
            Done::Committed {
                request,
                document,
                since,
                result,
            }
        }));
    }
}

async fn hand_over(voice: &Voice, changes: Changes) -> Result<PendingSubmit, Failure> {
    let document = changes.document.clone();
    let grant = voice.grant(Operation::Write, &document)?;
    let Some(edit) = AuthorizedEdit::new(&grant, changes) else {
        let principal = voice.who.author().principal;
        let reason = "it is for reading only";
        let operation = Operation::Write;
        return Err(Failure::Denied(Denied {
            principal,
            operation,
            document,
            reason,
        }));
    };
    let limit = voice.shared.options.timeouts.request();
    Ok(within(limit, voice.shared.log.submit(edit), || DocumentError::Overloaded).await?)
}

/// Sends a stretch of history, as fast as the client takes it. `Ok` when it is answered, or the connection ends.
async fn answer(voice: &Voice, fetch: Fetch) -> Result<(), Failure> {
    let Fetch {
        request,
        document,
        from,
        mut until,
    } = fetch;
    let mut after = Offset(from.0 - 1);
    let timeouts = &voice.shared.options.timeouts;
    loop {
        let grant = voice.grant(Operation::Read, &document)?;
        let stretch = Stretch {
            grant,
            after,
            until,
            bytes: PAGE_BYTES,
        };
        let page = voice.shared.log.fetch(stretch);
        let page = within(timeouts.request(), page, || DocumentError::Overloaded).await?;
        let last = page.next.is_none();
        if !send_page(voice, request, &document, &page.entries, last).await? {
            return Ok(());
        }
        match page.next {
            Some(next) => after = next,
            None => return Ok(()),
        }
        until = Some(page.until);
    }
}

/// Sends a page of history, the `last` one or not, in parts where the client takes no frame so long; `false` when the
/// connection ends.
async fn send_page(
    voice: &Voice,
    request: RequestId,
    document: &DocumentId,
    entries: &[Entry],
    last: bool,
) -> Result<bool, Failure> {
    let mut rest = vec![(entries, last)];
    while let Some((entries, last)) = rest.pop() {
        let ops = wire::Ops {
            request_id: Some(request.0),
            last,
            ..wire::Ops::of(document, entries)
        };
        if ops.entries.is_empty() && !last {
            continue;
        }
        let payload = encode(&wire::ServerFrame::from(ops));
        match voice.too_long(payload.len()) {
            Some(_) if entries.len() > 1 => {
                let (first, second) = entries.split_at(entries.len() / 2);
                rest.extend([(second, last), (first, false)]);
            }
            Some(why) => return Err(Failure::TooLong(why)),
            None if !send(voice, document, payload).await => return Ok(false),
            None => {}
        }
    }
    Ok(true)
}

/// Queues a part of the answer when there is room; `false` when the connection ends.
async fn send(voice: &Voice, document: &DocumentId, payload: Bytes) -> bool {
    let bytes = payload.len();
    let patience = voice.shared.options.timeouts.stalled();
    while voice.outbound.room(bytes, patience).await {
        let frame = Frame::binary(payload.clone()).about(Some(document));
        match voice.outbound.offer(frame) {
            Offered::Taken => {
                voice.shared.metrics.native.said(Said::Ops, bytes);
                return true;
            }
            Offered::Full => task::yield_now().await,
            Offered::Gone => return false,
        }
    }
    false
}

async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, DocumentError>>,
    late: impl FnOnce() -> DocumentError,
) -> Result<T, DocumentError> {
    timeout(limit, call).await.unwrap_or_else(|_| Err(late()))
}

fn cost(submit: &Submit) -> usize {
    let bytes: usize = submit.changes.iter().map(Bytes::len).sum();
    bytes + submit.changes.len() * CHANGE_OVERHEAD
}
