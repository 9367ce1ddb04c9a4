//! Bounds the bytes of all requests in the house, and how many there are.

use crate::{Cause, Failure};
use axum::body::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// A counter with a maximum.
pub(crate) struct Budget {
    used: AtomicUsize,
    max: usize,
}

impl Budget {
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Budget { used: AtomicUsize::new(0), max })
    }

    /// Nothing taken yet.
    pub fn open(self: &Arc<Self>) -> Reservation {
        Reservation { budget: self.clone(), taken: AtomicUsize::new(0) }
    }

    /// `amount` taken at once, or `None`.
    pub fn take(self: &Arc<Self>, amount: usize) -> Option<Reservation> {
        let reservation = self.open();
        reservation.grow(amount).then_some(reservation)
    }

    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// A share of a [`Budget`], given back when dropped.
pub(crate) struct Reservation {
    budget: Arc<Budget>,
    taken: AtomicUsize,
}

impl Reservation {
    /// Takes more, or nothing when it is not there.
    pub fn grow(&self, amount: usize) -> bool {
        let fits = |used: usize| used.checked_add(amount).filter(|&sum| sum <= self.budget.max);
        let grown =
            self.budget.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        if grown {
            self.taken.fetch_add(amount, Ordering::Relaxed);
        }
        grown
    }

    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(*self.taken.get_mut(), Ordering::Relaxed);
    }
}

/// A request body whose bytes are reserved as they arrive, and which must end in time.
pub(crate) struct MeteredBody<B> {
    inner: B,
    reservation: Arc<Reservation>,
    /// Reserve no more than this: a stream of messages holds only one of them at a time.
    reserve_max: usize,
    timeout: Option<Duration>,
    /// Started when the body first makes us wait, which most never do.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<B> MeteredBody<B> {
    pub fn new(
        inner: B,
        reservation: Arc<Reservation>,
        reserve_max: usize,
        timeout: Option<Duration>,
    ) -> Self {
        MeteredBody { inner, reservation, reserve_max, timeout, timer: None }
    }

    fn reserve(&self, bytes: usize) -> Result<(), Failure> {
        let bytes = bytes.min(self.reserve_max.saturating_sub(self.reservation.taken()));
        if self.reservation.grow(bytes) {
            return Ok(());
        }
        Err(Failure::overloaded("too many bytes of requests are being handled; try again later"))
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for MeteredBody<B>
where
    B::Error: std::fmt::Display,
{
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        let this = &mut *self;
        match Pin::new(&mut this.inner).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                Poll::Ready(Some(this.reserve(bytes).map(|()| frame).map_err(Into::into)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(tonic::Status::cancelled(
                format!("reading the request: {error}"),
            )))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                let Some(timeout) = this.timeout else { return Poll::Pending };
                let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
                std::task::ready!(timer.as_mut().poll(context));
                Poll::Ready(Some(Err(slow(timeout).into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

pub(crate) fn slow(timeout: Duration) -> Failure {
    Failure::new(Cause::TooSlow, format!("the request did not arrive within {timeout:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_what_it_took() {
        let budget = Budget::new(10);
        let first = budget.take(6).expect("fits");
        assert!(budget.take(5).is_none());
        assert_eq!(budget.used(), 6);
        assert!(first.grow(4) && !first.grow(1) && !first.grow(usize::MAX));
        drop(first);
        assert_eq!(budget.used(), 0);
    }
}
