//! A rehearsal: both sides say who they are and how far their clocks are apart, and go. There is no session, and a
//! destination that is armed goes on as if nobody had come.
//!
//! - [`visit`]: from the source, to a destination that is armed or rehearses as well
//! - [`Rehearsal`]: at the destination, for those who come meanwhile
//! - [`Encounter`]: what one side has learned of the other

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use tapferry_redirect::parts::Peers;
use tapferry_redirect::thread::NotStarted;
use tapferry_redirect::{Lack, Netdev, StreamError, StreamPlan};
use tapferry_sys::clock;
use tapferry_tls::{Channel, Failure};

use crate::compare::{Difference, Weight, compare};
use crate::connection::{Connection, Loss, PeerClock, nanos};
use crate::destination::reception::{Guest, Reception};
use crate::error::HandoverError;
use crate::plan::Identity;
use crate::survey::Survey;
use crate::wire::{Hello, Message, Refusal, RefusalCode, Role, WireError};

/// How long the other side may take for all that it has to say.
const PATIENCE: Duration = Duration::from_secs(5);
/// Round trips of which the shortest counts.
const PINGS: u32 = 8;

/// What one side has learned of the other, about one netdev.
#[derive(Debug, Clone)]
pub struct Encounter {
    /// QEMU's id of the netdev on this side; `None`: the other asks for one that is not here.
    pub netdev: Option<String>,
    /// Who the other says it is.
    pub peer: Option<Hello>,
    /// The shortest round trip between the two, in nanoseconds.
    pub round_trip_ns: Option<u64>,
    /// The other side's clock minus this one's, in nanoseconds.
    pub clock_offset_ns: Option<i64>,
    /// What differs, or why nothing could be compared.
    pub differences: Vec<Difference>,
}

impl Encounter {
    /// Of two that have said hello.
    fn new(ours: &Hello, theirs: Hello, clock: PeerClock, differences: Vec<Difference>) -> Self {
        Self {
            netdev: Some(ours.netdev_id.clone()),
            peer: Some(theirs),
            round_trip_ns: clock.round_trip_ns(),
            clock_offset_ns: clock.offset_ns(),
            differences,
        }
    }

    /// Of a source that came to this destination.
    pub(crate) fn at_destination(ours: &Hello, theirs: Hello, clock: PeerClock) -> Self {
        let offset = clock.offset_ns().map(i64::wrapping_neg);
        let differences = compare(&theirs, ours, offset);
        Self::new(ours, theirs, clock, differences)
    }

    /// Of somebody at this destination who may have nothing to do with the VM: no fault, and worth to know if nobody
    /// else comes.
    pub(crate) fn with_stranger(why: Difference) -> Self {
        let message = format!("a connection was refused: {}", why.message);
        Self::failed(None, None, Difference { weight: Weight::Note, message, ..why })
    }

    /// Nothing could be compared.
    pub(crate) fn failed(netdev: Option<String>, peer: Option<Hello>, why: Difference) -> Self {
        Self { netdev, peer, round_trip_ns: None, clock_offset_ns: None, differences: vec![why] }
    }
}

/// Looks at a destination for one netdev of the VM that runs here. That nobody is there is an encounter, too.
pub fn visit(netdev: &Netdev, identity: &Identity, to: &StreamPlan) -> Result<Encounter, HandoverError> {
    let ours = Survey::of(netdev)?.hello(Role::Rehearsal, identity);
    let mut connection = match dial(to)? {
        Ok(channel) => Connection::new(channel),
        Err(missing) => return Ok(Encounter::failed(Some(ours.netdev_id), None, missing)),
    };
    let talk = talk(&mut connection, &ours);
    if let Err(Ending::Lost(loss)) = &talk
        && let Some(refusal) = loss.refusal()
    {
        connection.refuse(refusal);
    }
    let clock = connection.clock();
    Ok(match talk {
        Ok(theirs) => {
            let differences = compare(&ours, &theirs, clock.offset_ns());
            Encounter::new(&ours, theirs, clock, differences)
        }
        Err(ending) => Encounter::failed(Some(ours.netdev_id), None, ending.into()),
    })
}

/// A connection, or what is missing for one.
fn dial(to: &StreamPlan) -> Result<Result<Channel, Difference>, HandoverError> {
    let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)
        .map_err(|errno| NotStarted(errno.to_string()))?;
    let error = match Peers::open(to, false, &Arc::new(wake)) {
        Ok((_, Some(peer))) => return Ok(Ok(peer)),
        Ok((_, None)) => StreamError::NotYet,
        Err(error) => error,
    };
    let (code, weight, advice) = match &error {
        StreamError::Unreachable { lack: Lack::Listener, .. } => {
            let advice = "start tapferry handover dest there, or check dest; the source waits for it";
            ("way_refused", Weight::Cost, advice)
        }
        StreamError::Unreachable { lack: Lack::Route, .. } => (
            "way_silent",
            Weight::Fault,
            "let TCP connections to that port through: a firewall, or no such host",
        ),
        StreamError::Unreachable { lack: Lack::Name, .. } => ("way_silent", Weight::Fault, &*error.hint()),
        StreamError::Tls(failure) => return Ok(Err(failure.into())),
        _ => return Err(HandoverError::Stream { option: "--to", address: to.address.to_string(), error }),
    };
    Ok(Err(Difference { code, weight, message: error.to_string(), advice: advice.into() }))
}

/// Why there was nothing to compare.
enum Ending {
    Lost(Loss),
    Refused(Refusal),
}

impl From<Loss> for Ending {
    fn from(loss: Loss) -> Self {
        Self::Lost(loss)
    }
}

/// Says who we are, hears who they are, and has both sides measure the clocks.
fn talk(connection: &mut Connection, ours: &Hello) -> Result<Hello, Ending> {
    let until = clock::monotonic_ns() + nanos(PATIENCE);
    connection.push(&Message::Hello(ours.clone()));
    let (mut theirs, mut pongs, mut is_asked) = (None, 0, false);
    while clock::monotonic_ns() < until {
        while let Some(message) = connection.next()? {
            match message {
                Message::Hello(hello) => theirs = Some(hello),
                Message::Refusal(refusal) => return Err(Ending::Refused(refusal)),
                Message::Ping { .. } => {
                    is_asked = true;
                    continue;
                }
                Message::Pong { .. } => pongs += 1,
                _ => continue,
            }
            if pongs < PINGS {
                connection.push(&Message::Ping { sent_ns: clock::realtime_ns() });
            }
        }
        connection.flush()?;
        if let Some(theirs) = theirs.take_if(|_| pongs >= PINGS && is_asked) {
            return Ok(theirs);
        }
        let rest = Duration::from_nanos(until.saturating_sub(clock::monotonic_ns()));
        let mut descriptors = [PollFd::from_borrowed_fd(connection.as_fd(), PollFlags::IN)];
        let patience = connection.patience(rest);
        poll(&mut descriptors, Timespec::try_from(patience).ok().as_ref()).ok();
        connection.receive()?;
    }
    theirs.ok_or(Ending::Lost(Loss::Silent))
}

impl From<Ending> for Difference {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Lost(loss) => (&loss).into(),
            Ending::Refused(Refusal { code, text }) => {
                Self { message: format!("the destination refuses: {text}"), ..refused(code) }
            }
        }
    }
}

impl From<&Loss> for Difference {
    fn from(loss: &Loss) -> Self {
        let (code, advice) = match loss {
            Loss::Wire(WireError::NotTapferry { .. }) => {
                ("peer_foreign", "start tapferry handover dest there, or give the address where it listens")
            }
            Loss::Wire(WireError::Version { .. }) => {
                ("peer_version", "install the same tapferry on both hosts")
            }
            _ => ("peer_lost", "see what the other side says of it"),
        };
        Self { code, weight: Weight::Fault, message: loss.to_string(), advice: advice.into() }
    }
}

impl From<&Failure> for Difference {
    fn from(failure: &Failure) -> Self {
        let (message, advice) = (failure.to_string(), failure.hint());
        Self { code: failure.code(), weight: Weight::Fault, message, advice }
    }
}

/// What a refusal means in a rehearsal; its words are another matter.
pub(crate) fn refused(code: RefusalCode) -> Difference {
    let (code, advice) = match code {
        RefusalCode::Version => ("peer_version", "install the same tapferry on both hosts"),
        RefusalCode::Role => ("peer_same_side", "run the source where the VM leaves, dest where it arrives"),
        RefusalCode::OtherVm => {
            ("other_vm", "start QEMU at both hosts with the same -uuid, and give its monitors")
        }
        RefusalCode::UnknownNetdev => {
            ("unknown_netdev", "give the network card the same mac= at both hosts, and name the same netdevs")
        }
        RefusalCode::Busy | RefusalCode::State => ("peer_busy", "wait for the handover there to end"),
        RefusalCode::Malformed => ("peer_lost", "see what the other side says of it"),
    };
    Difference { code, weight: Weight::Fault, message: String::new(), advice: advice.into() }
}

/// A destination that only rehearses: it listens, and hands nothing over. Dropping it ends it.
pub struct Rehearsal {
    /// `None` once it has ended.
    reception: Mutex<Option<Reception>>,
    encounters: Mutex<Receiver<Encounter>>,
}

impl Rehearsal {
    /// Listens for those who come for these netdevs.
    pub fn open(from: &StreamPlan, netdevs: Vec<(Netdev, Identity)>) -> Result<Self, HandoverError> {
        let guest = |(netdev, identity): (Netdev, Identity)| {
            Ok(Guest { identity, survey: Survey::of(&netdev)?, outbox: None })
        };
        let guests = netdevs.into_iter().map(guest).collect::<Result<_, HandoverError>>()?;
        let (found, encounters) = mpsc::channel();
        let reception = Reception::open(from, guests, Arc::new(|_| {}), Some(found))?;
        Ok(Self { reception: Mutex::new(Some(reception)), encounters: Mutex::new(encounters) })
    }

    /// The next one, if it comes within that time.
    pub fn next(&self, patience: Duration) -> Option<Encounter> {
        self.encounters.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(patience).ok()
    }

    /// Listens no more.
    pub fn stop(&self) {
        *self.reception.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
