//! The ends that are datagrams: opened once, and there from then on.

use rustix::event::epoll;
use tapferry_sys::Error;

use super::ends::{Facts, Input, Side};
use super::{Token, Worker};
use crate::counters::Outages;
use crate::datagram::reader::DatagramReader;
use crate::datagram::writer::DatagramWriter;
use crate::error::StartError;
use crate::event::Event;
use crate::plan::DatagramPlan;

/// Opens an input of datagrams.
pub(super) fn open_reader(plan: &DatagramPlan) -> Result<DatagramReader, StartError> {
    DatagramReader::open(plan).map_err(|error| StartError::stream(Side::Input.stream(), plan, error))
}

/// Opens an output of datagrams.
pub(super) fn open_writer(plan: &DatagramPlan) -> Result<DatagramWriter, StartError> {
    DatagramWriter::open(plan).map_err(|error| StartError::stream(Side::Output.stream(), plan, error))
}

impl Worker {
    /// Waits for datagrams, where the input has them.
    pub(super) fn listen_to_datagrams(&self) -> Result<(), StartError> {
        let Input::Datagram { reader, .. } = &self.ends.input else { return Ok(()) };
        epoll::add(&self.epoll, reader, Token::Input.data(), epoll::EventFlags::IN)
            .map_err(|errno| Error::new("add to epoll", self.plan.input.to_string(), errno).into())
    }
}

/// An end without peers that could come and go: nothing is to be told of it.
pub(super) struct DatagramEnd;

impl Facts for DatagramEnd {
    fn is_present(&self) -> bool {
        true
    }

    fn outages(&self, _now: u64) -> Outages {
        Outages::default()
    }

    fn at_the_start(&self, _side: Side) -> Option<Event> {
        None
    }
}
