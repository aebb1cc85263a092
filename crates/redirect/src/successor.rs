//! A source that is being hooked in beside another, and the waits that make a cut between them exact.
//!
//! Opening a ring, closing a source and waiting for the kernel's grace periods takes tens of milliseconds, in which
//! frames must be read on: a thread of its own does the waiting.

use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use tapferry_sys::filter::Program;
use tapferry_sys::netdev::IfIndex;
use tapferry_sys::{Errno, Error, grace};

use crate::plan::Netdev;
use crate::source::Source;
use crate::traffic::Move;

/// How far the thread is.
pub(crate) enum Stage {
    /// Every frame reaches the new source, too. Now is the time for the cut: see [`Successor::cut`].
    Hooked(Source),
    /// Every frame sent before the cut has reached the old source.
    Passed,
    /// The old source is closed.
    Closed,
}

enum Order {
    Cut,
    Close(Source),
}

/// The thread that brings a source.
pub(crate) struct Successor {
    stages: Receiver<Result<Stage, Error>>,
    /// The cut has been made; later: the old source is not needed any more.
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

impl Successor {
    /// Begins to open the source that captures what passes `filter`.
    pub(crate) fn begin(
        way: Move,
        netdev: &Netdev,
        filter: &Program,
        promiscuous: Option<IfIndex>,
    ) -> Result<Self, Error> {
        let (stage, stages) = mpsc::channel();
        let (order, orders) = mpsc::channel();
        let (owned, filter) = (netdev.clone(), filter.clone());
        let thread = thread::Builder::new()
            .name("ferry-move".into())
            .spawn(move || {
                let hooked = open(way, &owned, &filter, promiscuous).map(|source| {
                    grace::period();
                    Stage::Hooked(source)
                });
                // A capture that was closed meanwhile hears nothing, and the source is closed again.
                let mut told = stage.send(hooked).is_ok();
                while told && let Ok(order) = orders.recv() {
                    let reached = match order {
                        Order::Cut => {
                            grace::period();
                            Stage::Passed
                        }
                        Order::Close(source) => {
                            drop(source);
                            Stage::Closed
                        }
                    };
                    told = stage.send(Ok(reached)).is_ok();
                }
            })
            .map_err(|error| {
                let errno = Errno::from_io_error(&error).unwrap_or(Errno::AGAIN);
                Error::new("start a thread", netdev.name.as_str(), errno)
            })?;
        Ok(Self { stages, orders: Some(order), thread: Some(thread) })
    }

    /// The next stage, if it has been reached.
    pub(crate) fn poll(&self) -> Option<Result<Stage, Error>> {
        self.stages.try_recv().ok()
    }

    /// Whether [`Stage::Passed`] has been reached.
    pub(crate) fn has_passed(&self) -> bool {
        matches!(self.poll(), Some(Ok(Stage::Passed)))
    }

    /// Whether [`Stage::Closed`] has been reached.
    pub(crate) fn has_closed(&self) -> bool {
        matches!(self.poll(), Some(Ok(Stage::Closed)))
    }

    /// The cut has been made: [`Stage::Passed`] follows.
    pub(crate) fn cut(&self) {
        self.order(Order::Cut);
    }

    /// The old source is not needed any more: [`Stage::Closed`] follows.
    pub(crate) fn close(&self, source: Source) {
        self.order(Order::Close(source));
    }

    fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            orders.send(order).ok();
        }
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        // Nothing may stay hooked once the capture is closed: the thread sees its channel closed and ends.
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn open(way: Move, netdev: &Netdev, filter: &Program, promiscuous: Option<IfIndex>) -> Result<Source, Error> {
    let source = match way {
        Move::ToRing => Source::ring(netdev, filter)?,
        Move::ToSocket => Source::socket(netdev, filter)?,
    };
    if let Some(ifindex) = promiscuous {
        source
            .packet_socket()
            .join_promiscuous(ifindex)
            .map_err(Error::on("enter promiscuous mode", netdev.name.as_str()))?;
    }
    Ok(source)
}
