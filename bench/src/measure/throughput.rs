//! Frames to a stream: what they cost at a rate that every peer can take, and how many arrive when they are sent as
//! fast as the sender can.

use std::time::Duration;

use serde::Serialize;

use super::{Background, Bench, CpuSample, Span};
use crate::error::Result;
use crate::figures::float;
use crate::forwarder::Forwarder;
use crate::peers::Peer;
use crate::stream::{self, StreamReader, StreamRig};
use crate::traffic::{Case, Host, Rate, Sent, monotonic, nanoseconds};

/// When nothing has arrived for so long, nothing will: whoever loses frames here has a queue full of others first.
const SILENCE: Duration = Duration::from_millis(300);

/// What arrived of frames that were sent as fast as the sender could.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ThroughputSample {
    pub(crate) round: u32,
    pub(crate) case: &'static str,
    pub(crate) peer: &'static str,
    pub(crate) frames: u64,
    pub(crate) lost: u64,
    /// What the others came in: more than frames where frames were cut up. Absent where there is no telling.
    pub(crate) records: Option<u64>,
    /// Frames a second that were sent.
    pub(crate) sent_rate: f64,
    /// Frames a second from the first sending to the last arrival.
    pub(crate) rate: f64,
    /// The same in bits of frames, as they were sent.
    pub(crate) bits_per_s: f64,
    /// The forwarder's CPU time meanwhile, in cores.
    pub(crate) forwarder_cores: f64,
    pub(crate) background: Background,
}

/// What became of frames that were sent one way or another.
struct Pass {
    sent: Sent,
    arrived: u64,
    records: Option<u64>,
    /// From the first sending to the last arrival.
    took: Duration,
    forwarder_cpu: Duration,
    background: Background,
}

impl Bench<'_> {
    /// Both figures of one peer. Sender and reader are one thread, and the guest behind the input with them.
    pub(crate) fn throughput(
        &self,
        round: u32,
        case: &Case,
        peer: &'static Peer,
    ) -> Result<(CpuSample, Option<ThroughputSample>)> {
        let (forwarder, reader) = self.start_to_stream(peer)?;
        let host = Host::open(stream::INPUT, *case)?;
        let mut line = Line { streams: self.streams, peer, case, forwarder, host, reader };
        let paced = Rate::PerSecond(f64::from(case.rate));
        // Twice as long as elsewhere: a ring is opened meanwhile, and GSO frames are few.
        line.pass(paced, self.times.warm_up * 2)?;
        let Pass { sent, arrived, forwarder_cpu, background, .. } = line.pass(paced, self.times.cpu)?;
        let flood = peer.forwards().then(|| line.pass(Rate::Unlimited, self.times.cpu)).transpose()?;
        let cpu = CpuSample {
            round,
            case: case.name,
            peer: peer.name,
            frames: sent.frames,
            lost: sent.frames.saturating_sub(arrived),
            lost_at_output: 0,
            forwarder_ns: (arrived > 0).then(|| float(nanoseconds(forwarder_cpu)) / float(arrived)),
            sender_ns: float(nanoseconds(sent.cpu)) / float(sent.frames),
            memory: line.forwarder.memory()?,
            ended: line.forwarder.end()?,
            background,
        };
        let throughput = flood.map(|Pass { sent, arrived, records, took, forwarder_cpu, background }| {
            let rate = float(arrived) / took.as_secs_f64();
            ThroughputSample {
                round,
                case: case.name,
                peer: peer.name,
                frames: sent.frames,
                lost: sent.frames.saturating_sub(arrived),
                records,
                sent_rate: float(sent.frames) / sent.sending.as_secs_f64(),
                rate,
                bits_per_s: rate * float(case.frame_bytes() * 8),
                forwarder_cores: forwarder_cpu.as_secs_f64() / took.max(sent.sending).as_secs_f64(),
                background,
            }
        });
        Ok((cpu, throughput))
    }
}

/// A peer at work on a case, with a sender before it and a reader behind it.
struct Line<'a> {
    streams: &'a StreamRig,
    peer: &'static Peer,
    case: &'a Case,
    forwarder: Forwarder<'a>,
    host: Host,
    reader: Option<StreamReader>,
}

impl Line<'_> {
    /// Sends for that long, and waits for what is still under way. Where frames are sent as fast as they can be, the
    /// guest behind the input reads nothing meanwhile: its share of the core is the sender's.
    fn pass(&mut self, rate: Rate, duration: Duration) -> Result<Pass> {
        let Self { streams, peer, case, forwarder, host, reader } = self;
        if let Some(reader) = reader {
            reader.count(case);
        }
        // Twice what is sent between two looks: the reader is no bottleneck, and the sender has its turn while a peer
        // goes on writing.
        let enough = 2 * u64::from(case.burst) * case.frame_bytes();
        let guest_reads = rate != Rate::Unlimited && !peer.takes_tap();
        let span = Span::begin(forwarder)?;
        let start = monotonic();
        let (mut bytes, mut last) = (0, start);
        let mut look = || {
            if guest_reads {
                streams.empty_tap()?;
            }
            let Some(reader) = reader else { return Ok((0, last)) };
            reader.look(enough)?;
            if reader.bytes() != bytes {
                (bytes, last) = (reader.bytes(), monotonic());
            }
            Ok((reader.frames(), last))
        };
        let sent = host.send_beside(rate, duration, || look().map(drop))?;
        let end = monotonic();
        let arrived = loop {
            let (arrived, last) = look()?;
            let is_over = monotonic() > end.max(last) + SILENCE || !peer.forwards();
            if arrived >= sent.frames || is_over {
                break arrived;
            }
        };
        let (forwarder_cpu, background) = span.end(forwarder)?;
        let records = reader.as_ref().and_then(StreamReader::records);
        Ok(Pass { sent, arrived, records, took: last - start, forwarder_cpu, background })
    }
}
