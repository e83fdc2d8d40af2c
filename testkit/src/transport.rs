//! The client side of wRPC's NATS transport, for functions without streams.
//!
//! The crate's own client hands a call's subscription and the messages of all calls to one task,
//! which takes them in random order if both wait: an answer that comes quickly can be looked at
//! before its subscription is, and is then dropped, so that the call hangs. On a busy machine that
//! happened to one call in a few hundred. Here the subscription is there before the call is sent.

use std::collections::HashMap;
use std::fmt;
use std::io::{Error, ErrorKind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::{Buf as _, Bytes};
use futures::StreamExt as _;
use lattice_nats::{Client, HeaderMap, Message, StatusCode, Subject};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::AbortHandle;
use wrpc_transport::{Index, Invoke};
use wrpc_transport_nats::{invocation_subject, param_subject, result_subject};

/// Calls the functions of one provider.
#[derive(Clone)]
pub(crate) struct Transport(Arc<Shared>);

struct Shared {
    nats: Client,
    prefix: String,
    inbox: String,
    routes: Routes,
    receiving: AbortHandle,
}

/// Where messages go, by their subject.
type Routes = Arc<Mutex<HashMap<String, UnboundedSender<Message>>>>;

impl Transport {
    pub(crate) async fn new(nats: Client, prefix: String) -> Result<Self> {
        let inbox = nats.new_inbox();
        let mut messages = nats
            .subscribe(format!("{inbox}.>"))
            .await
            .context("cannot subscribe to answers")?;
        let routes = Routes::default();
        let receiving = tokio::spawn({
            let routes = Arc::clone(&routes);
            async move {
                while let Some(message) = messages.next().await {
                    let routes = routes.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(route) = routes.get(message.subject.as_str()) {
                        // Fails for a call that has been given up.
                        let _ = route.send(message);
                    }
                }
            }
        });
        Ok(Self(Arc::new(Shared {
            nats,
            prefix,
            inbox,
            routes,
            receiving: receiving.abort_handle(),
        })))
    }

    fn route(&self, subject: String) -> Route {
        let Self(shared) = self;
        let (sender, messages) = mpsc::unbounded_channel();
        let mut routes = shared.routes.lock().unwrap_or_else(PoisonError::into_inner);
        routes.insert(subject.clone(), sender);
        Route {
            messages,
            subject,
            routes: Arc::clone(&shared.routes),
        }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("prefix", &self.0.prefix)
            .finish_non_exhaustive()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.receiving.abort();
    }
}

/// The messages of one subject, while it lives.
struct Route {
    messages: UnboundedReceiver<Message>,
    subject: String,
    routes: Routes,
}

impl Drop for Route {
    fn drop(&mut self) {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        routes.remove(&self.subject);
    }
}

impl Invoke for Transport {
    type Context = Option<HeaderMap>;
    type Outgoing = Sent;
    type Incoming = Results;

    /// Sends the call with its parameters; what does not fit into one message goes to where the
    /// provider says that it takes the rest.
    async fn invoke<P: AsRef<[Option<usize>]> + Send + Sync>(
        &self,
        headers: Option<HeaderMap>,
        instance: &str,
        function: &str,
        mut params: Bytes,
        paths: impl AsRef<[P]> + Send,
    ) -> Result<(Sent, Results)> {
        ensure!(paths.as_ref().is_empty(), "streams are not supported");
        let Self(shared) = self;
        let nats = &shared.nats;
        let reply = format!("{}.{}", shared.inbox, nuid());
        let mut accepted = self.route(reply.clone());
        let results = self.route(result_subject(&reply));

        let subject = Subject::from(invocation_subject(&shared.prefix, instance, function));
        let max_payload = nats.server_info().max_payload;
        let room = max_payload.saturating_sub(header_bytes(headers.as_ref()) + reply.len());
        let first = params.split_to(params.len().min(room));
        match headers {
            Some(headers) => {
                nats.publish_with_reply_and_headers(subject, reply, headers, first)
                    .await
            }
            None => nats.publish_with_reply(subject, reply, first).await,
        }
        .context("cannot send the call")?;

        let accepted = accepted.messages.recv().await.context("cut off")?;
        if accepted.status == Some(StatusCode::NO_RESPONDERS) {
            bail!("nobody answers {instance}.{function}");
        }
        let rest = accepted.reply.context("accepted without a reply subject")?;
        let rest = Subject::from(param_subject(&rest));
        while !params.is_empty() {
            let chunk = params.split_to(params.len().min(max_payload));
            nats.publish(rest.clone(), chunk).await?;
        }
        nats.publish(rest, Bytes::new()).await?;
        let buffer = Bytes::new();
        Ok((
            Sent,
            Results {
                route: results,
                buffer,
            },
        ))
    }
}

fn nuid() -> String {
    format!(
        "{:016x}{:016x}",
        crate::random::number(),
        crate::random::number()
    )
}

fn header_bytes(headers: Option<&HeaderMap>) -> usize {
    let Some(headers) = headers else { return 0 };
    let line = |name: &str, value: &str| name.len() + ": ".len() + value.len() + "\r\n".len();
    let lines = headers.iter().flat_map(|(name, values)| {
        let name: &str = name.as_ref();
        values.iter().map(move |value| line(name, value.as_str()))
    });
    "NATS/1.0\r\n\r\n".len() + lines.sum::<usize>()
}

/// Takes what comes after the parameters, which is nothing.
pub(crate) struct Sent;

impl Index<Self> for Sent {
    fn index(&self, _: &[usize]) -> Result<Self> {
        bail!("streams are not supported")
    }
}

impl AsyncWrite for Sent {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Err(Error::from(ErrorKind::Unsupported)))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The results' bytes; an empty message ends them.
pub(crate) struct Results {
    route: Route,
    buffer: Bytes,
}

impl Index<Self> for Results {
    fn index(&self, _: &[usize]) -> Result<Self> {
        bail!("streams are not supported")
    }
}

impl AsyncRead for Results {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.buffer.is_empty()
            && let Some(message) = ready!(self.route.messages.poll_recv(cx))
        {
            self.buffer = message.payload;
        }
        let length = self.buffer.len().min(into.remaining());
        into.put_slice(&self.buffer[..length]);
        self.buffer.advance(length);
        Poll::Ready(Ok(()))
    }
}
