//! Whoever reads what a peer writes, and counts it.
//!
//! It looks at the lengths that stand before frames and steps over the rest. It is the benchmark's own, and shares
//! no code with what it judges.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use crate::error::{Context, Result};
use crate::traffic::{Case, monotonic};

/// What a peer puts around frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// QEMU's: a length before each, and with `vnet_hdr_support` that of the virtio-net header.
    Qemu { vnet_hdr_support: bool },
    /// None: where a frame ends cannot be seen, and only bytes can be counted.
    None,
}

/// A reader that never sleeps, so that no peer has to wake it, and that leaves the socket alone in between, so that
/// its looking does not keep a peer from writing.
pub(crate) struct StreamReader {
    peer: UnixStream,
    buffer: Vec<u8>,
    next_look: Duration,
    tally: Tally,
}

impl StreamReader {
    pub(crate) fn new(peer: UnixStream, framing: Framing) -> Self {
        const ROOM: usize = 256 * 1024;
        Self { peer, buffer: vec![0; ROOM], next_look: Duration::ZERO, tally: Tally::new(framing) }
    }

    /// Takes what has come, if it is time to look again, and leaves when that was so many bytes: there may be no end
    /// to it while a peer writes.
    pub(crate) fn look(&mut self, enough: u64) -> Result<()> {
        /// Ten frames of 1514 bytes at half a million a second: no socket is full by then.
        const BETWEEN: Duration = Duration::from_micros(20);
        if monotonic() < self.next_look {
            return Ok(());
        }
        let start = self.tally.bytes;
        while self.tally.bytes - start < enough {
            match recv(&self.peer, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((0, _)) | Err(Errno::AGAIN | Errno::CONNRESET) => break,
                Ok((length, _)) => self.tally.take(&self.buffer[..length]),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno).on("recv", "a unix socket"),
            }
        }
        self.next_look = monotonic() + BETWEEN;
        Ok(())
    }

    /// Counts this case's frames from now on.
    pub(crate) fn count(&mut self, case: &Case) {
        self.tally.count(case);
    }

    /// Anything that came since then.
    pub(crate) fn bytes(&self) -> u64 {
        self.tally.bytes
    }

    /// Frames, as they were sent.
    pub(crate) fn frames(&self) -> u64 {
        self.tally.frames()
    }

    /// What they came in: more records than frames where frames were cut up.
    pub(crate) fn records(&self) -> Option<u64> {
        (self.tally.framing != Framing::None).then_some(self.tally.whole + self.tally.segments)
    }
}

#[derive(Debug)]
struct Tally {
    framing: Framing,
    /// Bytes of a frame that counts.
    frame_length: u64,
    /// Into how many it may be cut up, and the bytes of each.
    segments_a_frame: u64,
    segment_length: u64,
    bytes: u64,
    whole: u64,
    segments: u64,
    /// What has come of the fields before a frame.
    fields: Vec<u8>,
    /// Bytes of the present frame, and those of its record that have not come yet.
    present: u64,
    rest: u64,
}

impl Tally {
    fn new(framing: Framing) -> Self {
        Self {
            framing,
            frame_length: 1,
            segments_a_frame: 1,
            segment_length: 1,
            bytes: 0,
            whole: 0,
            segments: 0,
            fields: Vec::new(),
            present: 0,
            rest: 0,
        }
    }

    fn count(&mut self, case: &Case) {
        self.frame_length = case.frame_bytes();
        let (segments, length) = case.segments();
        (self.segments_a_frame, self.segment_length) = (number(segments), number(length));
        (self.bytes, self.whole, self.segments) = (0, 0, 0);
    }

    fn frames(&self) -> u64 {
        match self.framing {
            Framing::None => self.bytes / self.frame_length,
            Framing::Qemu { .. } => self.whole + self.segments / self.segments_a_frame,
        }
    }

    fn take(&mut self, mut bytes: &[u8]) {
        self.bytes += number(bytes.len());
        let fields = match self.framing {
            Framing::None => return,
            Framing::Qemu { vnet_hdr_support: false } => 4,
            Framing::Qemu { vnet_hdr_support: true } => 8,
        };
        while !bytes.is_empty() {
            if self.fields.len() < fields {
                let (taken, others) = bytes.split_at(bytes.len().min(fields - self.fields.len()));
                self.fields.extend_from_slice(taken);
                bytes = others;
                if self.fields.len() == fields {
                    self.rest = field(&self.fields);
                    self.present = self.rest.saturating_sub(field(&self.fields[4..]));
                }
            } else {
                let taken = usize::try_from(self.rest).map_or(bytes.len(), |rest| rest.min(bytes.len()));
                self.rest -= number(taken);
                bytes = &bytes[taken..];
            }
            if self.fields.len() == fields && self.rest == 0 {
                self.complete();
            }
        }
    }

    fn complete(&mut self) {
        self.fields.clear();
        if self.present == self.frame_length {
            self.whole += 1;
        } else if self.present == self.segment_length {
            self.segments += 1;
        }
    }
}

/// A field before a record, in network byte order; 0 where there is none.
fn field(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |field| u64::from(u32::from_be_bytes(*field)))
}

fn number(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::STREAM_CASES;

    fn record(fields: &[usize], length: usize) -> Vec<u8> {
        let fields = fields.iter().flat_map(|field| u32::try_from(*field).unwrap().to_be_bytes());
        fields.chain(std::iter::repeat_n(7, length)).collect()
    }

    #[test]
    fn frames_are_counted_however_the_bytes_come() {
        let case = &STREAM_CASES[0];
        let bytes = [record(&[72, 12], 72), record(&[1526, 12], 1526), record(&[1514, 0], 1514)].concat();
        for step in [1, 3, 8, 1500, 4000] {
            let mut tally = Tally::new(Framing::Qemu { vnet_hdr_support: true });
            tally.count(case);
            bytes.chunks(step).for_each(|bytes| tally.take(bytes));
            assert_eq!((tally.frames(), tally.bytes), (2, number(bytes.len())), "by {step}");
        }
    }

    #[test]
    fn segments_make_a_frame_and_so_does_a_whole_one() {
        let case = STREAM_CASES.iter().find(|case| case.segments().0 > 1).unwrap();
        let (segments, length) = case.segments();
        let mut tally = Tally::new(Framing::Qemu { vnet_hdr_support: false });
        tally.count(case);
        for _ in 0..2 * segments - 1 {
            tally.take(&record(&[length], length));
        }
        assert_eq!(tally.frames(), 1);
        tally.take(&record(&[case.frame_length()], case.frame_length()));
        assert_eq!((tally.frames(), tally.whole), (2, 1));
    }

    #[test]
    fn without_records_bytes_make_frames() {
        let case = &STREAM_CASES[0];
        let mut tally = Tally::new(Framing::None);
        tally.count(case);
        tally.take(&vec![0; 3 * case.frame_length() - 1]);
        assert_eq!(tally.frames(), 2);
    }
}
