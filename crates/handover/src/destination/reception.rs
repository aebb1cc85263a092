//! Where sources arrive: one socket for all netdevs of a VM. Each source says who it is and is led to its netdev; one that
//! only rehearses is shown what there is; others are refused with a reason.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use tapferry_redirect::StreamPlan;
use tapferry_redirect::parts::{Lately, Notice, Peers};
use tapferry_redirect::thread::{NotStarted, Outbox};
use tapferry_sys::clock;

use super::Command;
use crate::compare::Difference;
use crate::connection::{Connection, Loss, nanos};
use crate::error::HandoverError;
use crate::event::{Event, EventKind, Observer};
use crate::plan::Identity;
use crate::rehearsal::{Encounter, refused};
use crate::survey::Survey;
use crate::wire::{Hello, Message, Refusal, RefusalCode, Role};

/// How long a newcomer may take to say who it is.
const HELLO: Duration = Duration::from_secs(5);
/// How long one that rehearses may stay.
const VISIT: Duration = Duration::from_secs(5);
/// Reads from one that rehearses between two looks at everything else.
const READS_PER_TURN: usize = 16;
/// Newcomers that have not said who they are, and those who rehearse; more wait in the socket's queue.
const NEWCOMERS: usize = 16;
/// Different things told in a while at most.
const KINDS_TOLD: usize = 16;
/// Between two looks at the time.
const TICK: Duration = Duration::from_millis(500);

/// A netdev that sources come for.
pub(crate) struct Guest {
    pub(crate) identity: Identity,
    pub(crate) survey: Survey,
    /// Where its sources are led; `None` in a rehearsal.
    pub(crate) outbox: Option<Outbox<Command>>,
}

/// A source that has said who it is.
pub(crate) struct Visit {
    pub(crate) connection: Connection,
    pub(crate) hello: Hello,
}

/// The listening thread. Dropping it ends it, and the socket goes with it.
pub(crate) struct Reception {
    wake: Arc<OwnedFd>,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Reception {
    /// Listens where the plan says, for sources of these netdevs. A rehearsal hears of each that has come.
    pub(crate) fn open(
        from: &StreamPlan,
        guests: Vec<Guest>,
        observer: Observer,
        encounters: Option<Sender<Encounter>>,
    ) -> Result<Self, HandoverError> {
        let refused = |error: std::io::Error| NotStarted(error.to_string());
        let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)
            .map_err(|errno| refused(errno.into()))?;
        let wake = Arc::new(wake);
        let failed =
            |error| HandoverError::Stream { option: "--from", address: from.address.to_string(), error };
        let (peers, _) = Peers::open(from, true, &wake).map_err(failed)?;
        let ending = Arc::new(AtomicBool::new(false));
        let mut desk = Desk {
            peers,
            guests,
            observer,
            encounters,
            wake: Arc::clone(&wake),
            ending: Arc::clone(&ending),
            newcomers: Vec::new(),
            visitors: Vec::new(),
            told: Lately::new(KINDS_TOLD),
        };
        let thread =
            thread::Builder::new().name("handover-door".into()).spawn(move || desk.run()).map_err(refused)?;
        Ok(Self { wake, ending, thread: Some(thread) })
    }
}

impl Drop for Reception {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Release);
        rustix::io::write(&*self.wake, &1_u64.to_ne_bytes()).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

struct Newcomer {
    connection: Connection,
    /// CLOCK_MONOTONIC, nanoseconds.
    since: u64,
}

/// One that rehearses, and has been told who we are.
struct Visitor {
    connection: Connection,
    ours: Hello,
    theirs: Hello,
    /// CLOCK_MONOTONIC, nanoseconds.
    since: u64,
}

struct Desk {
    peers: Peers,
    guests: Vec<Guest>,
    observer: Observer,
    encounters: Option<Sender<Encounter>>,
    wake: Arc<OwnedFd>,
    ending: Arc<AtomicBool>,
    newcomers: Vec<Newcomer>,
    visitors: Vec<Visitor>,
    told: Lately,
}

impl Desk {
    fn run(&mut self) {
        while !self.ending.load(Ordering::Acquire) {
            self.wait();
            let now = clock::monotonic_ns();
            while self.has_room()
                && let Ok(Some(channel)) = self.peers.take()
            {
                self.newcomers.push(Newcomer { connection: Connection::new(channel), since: now });
            }
            while let Some(notice) = self.peers.take_notice() {
                self.tell_of_tls(&notice);
            }
            for newcomer in std::mem::take(&mut self.newcomers) {
                self.hear(newcomer, now);
            }
            for visitor in std::mem::take(&mut self.visitors) {
                self.attend(visitor, now);
            }
        }
    }

    fn has_room(&self) -> bool {
        self.newcomers.len() + self.visitors.len() < NEWCOMERS
    }

    fn wait(&self) {
        let mut descriptors = vec![PollFd::new(&*self.wake, PollFlags::IN)];
        let listener = self.peers.listener().filter(|_| self.has_room());
        descriptors.extend(listener.map(|listener| PollFd::from_borrowed_fd(listener, PollFlags::IN)));
        let newcomers = self.newcomers.iter().map(|newcomer| &newcomer.connection);
        let connections = newcomers.chain(self.visitors.iter().map(|visitor| &visitor.connection));
        let mut patience = TICK;
        for peer in connections {
            patience = peer.patience(patience);
            descriptors.push(PollFd::from_borrowed_fd(peer.as_fd(), PollFlags::IN));
        }
        poll(&mut descriptors, Timespec::try_from(patience).ok().as_ref()).ok();
    }

    /// Takes in what a newcomer says; it stays one, becomes a visit, or goes.
    fn hear(&mut self, mut newcomer: Newcomer, now: u64) {
        match newcomer.hello() {
            Ok(Some(hello)) => self.lead(newcomer.connection, hello, now),
            Ok(None) if now.saturating_sub(newcomer.since) > nanos(HELLO) => {
                self.tell(&format!(
                    "a connection was closed: it has not said who it is for {} s",
                    HELLO.as_secs()
                ));
            }
            Ok(None) => self.newcomers.push(newcomer),
            // Somebody who looks whether the port is open.
            Err(Loss::Closed) => self.tell("a connection was closed before it said who it is"),
            Err(loss) => {
                match loss.refusal() {
                    Some(refusal) => {
                        newcomer.connection.refuse(refusal);
                        self.note(|| Encounter::failed(None, None, (&loss).into()));
                    }
                    None => self.note(|| Encounter::with_stranger((&loss).into())),
                }
                self.tell(&format!("a connection was refused: {loss}"));
            }
        }
    }

    fn lead(&mut self, mut connection: Connection, hello: Hello, now: u64) {
        let found = find(&self.guests, &hello);
        let netdev = found.as_ref().ok().map(|place| self.guests[*place].identity.netdev_id.clone());
        let refusal = match found.map(|place| &mut self.guests[place]) {
            Ok(guest) if hello.role == Role::Rehearsal => {
                let ours = guest.hello();
                connection.push(&Message::Hello(ours.clone()));
                connection.note_greeted();
                return self.visitors.push(Visitor { connection, ours, theirs: hello, since: now });
            }
            Ok(Guest { outbox: Some(outbox), .. }) => {
                let visit = Box::new(Visit { connection, hello: hello.clone() });
                let Err(Command::Welcome(visit)) = outbox.offer(Command::Welcome(visit)) else { return };
                connection = visit.connection;
                let text = "the handover of this netdev is over".into();
                Refusal { code: RefusalCode::State, text }
            }
            Ok(guest) => {
                let ours = guest.hello();
                self.note(|| Encounter::at_destination(&ours, hello.clone(), connection.clock()));
                let text =
                    "tapferry handover check dest only rehearses: start handover dest for the migration";
                return connection.refuse(Refusal { code: RefusalCode::State, text: text.into() });
            }
            Err(refusal) => refusal,
        };
        let message = format!("a source was refused: {}", refusal.text);
        self.tell(&message);
        self.note(|| Encounter::failed(netdev, Some(hello), Difference { message, ..refused(refusal.code) }));
        connection.refuse(refusal);
    }

    /// Talks with one that rehearses until it goes.
    fn attend(&mut self, mut visitor: Visitor, now: u64) {
        let stays = visitor.talk(now).is_ok() && now.saturating_sub(visitor.since) < nanos(VISIT);
        if stays {
            return self.visitors.push(visitor);
        }
        let Visitor { connection, ours, theirs, .. } = visitor;
        self.note(|| Encounter::at_destination(&ours, theirs, connection.clock()));
    }

    /// Only who rehearses is interested.
    fn note(&self, encounter: impl FnOnce() -> Encounter) {
        if let Some(encounters) = &self.encounters {
            encounters.send(encounter()).ok();
        }
    }

    fn tell_of_tls(&mut self, notice: &Notice) {
        match notice {
            Notice::Failure(failure) => {
                self.note(|| Encounter::with_stranger(failure.into()));
                self.tell(&format!("a connection was refused: {notice}"));
            }
            Notice::News(_) => {
                let kind = notice.code().map_or(EventKind::CredentialsRenewed, |_| EventKind::Warning);
                let event = Event::new(kind, "", notice.to_string());
                (self.observer)(Event { code: notice.code(), ..event });
            }
        }
    }

    /// Once in a while: whoever looks at the port every second must not fill a log.
    fn tell(&mut self, message: &str) {
        if self.told.is_to_be_told(message) {
            (self.observer)(Event::new(EventKind::PeerRefused, "", message));
        }
    }
}

impl Guest {
    /// What it says of itself to one that rehearses.
    fn hello(&mut self) -> Hello {
        let role = if self.outbox.is_some() { Role::Destination } else { Role::Rehearsal };
        self.survey.hello(role, &self.identity)
    }
}

impl Visitor {
    fn talk(&mut self, now: u64) -> Result<(), Loss> {
        for _ in 0..READS_PER_TURN {
            while self.connection.next()?.is_some() {}
            if !self.connection.receive()? {
                break;
            }
        }
        self.connection.keep_alive(now)?;
        self.connection.flush()
    }
}

impl Newcomer {
    fn hello(&mut self) -> Result<Option<Hello>, Loss> {
        self.connection.receive()?;
        Ok(match self.connection.next()? {
            Some(Message::Hello(hello)) => Some(hello),
            Some(Message::Refusal(refusal)) => return Err(Loss::Refused(refusal.text)),
            _ => None,
        })
    }
}

/// The place of the netdev that a source comes for: of the same VM, with the guest's address, or else of the same id.
fn find(guests: &[Guest], hello: &Hello) -> Result<usize, Refusal> {
    let refusal = |code, text: String| Err(Refusal { code, text });
    if hello.role == Role::Destination {
        return refusal(
            RefusalCode::Role,
            "this side is a destination as well: --from of one of them must be --to".into(),
        );
    }
    let is_known = |bytes: &[u8]| bytes.iter().any(|byte| *byte != 0);
    let other_vm = |guest: &&Guest| {
        let ours = &guest.identity.vm_uuid;
        is_known(ours) && is_known(&hello.vm_uuid) && *ours != hello.vm_uuid
    };
    if let Some(guest) = guests.iter().find(other_vm) {
        let (theirs, ours) = (&hello.vm_name, &guest.identity.vm_name);
        return refusal(
            RefusalCode::OtherVm,
            format!("it comes with VM '{theirs}', and this side waits for '{ours}': their UUIDs differ"),
        );
    }
    let by_mac = guests.iter().position(|guest| is_known(&hello.mac) && guest.identity.mac == hello.mac);
    let by_id = || {
        guests.iter().position(|guest| {
            let differ = is_known(&hello.mac) && is_known(&guest.identity.mac);
            !differ && guest.identity.netdev_id == hello.netdev_id
        })
    };
    let only = || match guests {
        [guest] if !(is_known(&hello.mac) && is_known(&guest.identity.mac)) => Some(0),
        _ => None,
    };
    let unknown = || Refusal {
        code: RefusalCode::UnknownNetdev,
        text: format!("none of the VM's netdevs here has the address of its '{}'", hello.netdev_id),
    };
    by_mac.or_else(by_id).or_else(only).ok_or_else(unknown)
}
