//! A thread that owns all it works with, and the handle that others hold of it.
//!
//! Everything goes through messages to the thread, so nothing is shared, and a snapshot is taken between two frames.

use std::os::fd::OwnedFd;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use rustix::event::{EventfdFlags, eventfd};

/// Where an answer goes.
pub type Reply<T> = Sender<T>;

/// Messages for the thread, and the descriptor that wakes it.
#[derive(Debug)]
pub struct Inbox<C> {
    /// What it is told.
    pub commands: Receiver<C>,
    /// Readable when there is something.
    pub wake: Arc<OwnedFd>,
}

/// The thread cannot be started, or ended before it could say why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotStarted(pub String);

/// A handle of a thread that obeys `C` and leaves an `R` behind. Dropping it stops the thread and waits for its end.
pub struct Handle<C, R> {
    /// `None` once it was told to stop: a handle that is kept keeps no descriptor.
    outbox: Mutex<Option<Outbox<C>>>,
    thread: Mutex<Thread<R>>,
    stop: fn() -> C,
}

/// Where messages to a thread are left.
pub struct Outbox<C> {
    commands: Sender<C>,
    wake: Arc<OwnedFd>,
}

impl<C> Clone for Outbox<C> {
    fn clone(&self) -> Self {
        Self { commands: self.commands.clone(), wake: Arc::clone(&self.wake) }
    }
}

impl<C> Outbox<C> {
    /// One whose messages come out at the other end, and ring `wake`.
    pub(crate) fn new(wake: &Arc<OwnedFd>) -> (Self, Receiver<C>) {
        let (commands, inbox) = mpsc::channel();
        (Self { commands, wake: Arc::clone(wake) }, inbox)
    }

    /// Leaves a message. A thread that has ended hears nothing, and need not.
    pub fn send(&self, command: C) {
        self.offer(command).ok();
    }

    /// Leaves a message, or gives it back if the thread has ended.
    pub fn offer(&self, command: C) -> Result<(), C> {
        self.commands.send(command).map_err(|refused| refused.0)?;
        rustix::io::write(&*self.wake, &1_u64.to_ne_bytes()).ok();
        Ok(())
    }
}

enum Thread<R> {
    Running(JoinHandle<Option<R>>),
    Ended(Option<Box<R>>),
}

impl<C: Send + 'static, R: Clone + Send + 'static> Handle<C, R> {
    /// Starts a thread in the caller's network namespace and waits until it has opened what it works with. `stop` is
    /// the message after which it ends.
    pub fn start<W, E: From<NotStarted> + Send + 'static>(
        name: &str,
        stop: fn() -> C,
        open: impl FnOnce(Inbox<C>) -> Result<W, E> + Send + 'static,
        run: impl FnOnce(W) -> R + Send + 'static,
    ) -> Result<Self, E> {
        let refused = |error: std::io::Error| NotStarted(error.to_string());
        let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)
            .map_err(|errno| refused(errno.into()))?;
        let wake = Arc::new(wake);
        let (outbox, commands) = Outbox::new(&wake);
        let inbox = Inbox { commands, wake };
        let (started, starting) = mpsc::channel();
        let thread = thread::Builder::new()
            // What `ps -T` and `top -H` show; the kernel keeps 15 bytes.
            .name(name.chars().take(15).collect())
            .spawn(move || match open(inbox) {
                Ok(worker) => {
                    started.send(Ok(())).ok();
                    Some(run(worker))
                }
                Err(error) => {
                    started.send(Err(error)).ok();
                    None
                }
            })
            .map_err(refused)?;
        match starting.recv() {
            Ok(Ok(())) => Ok(Self {
                outbox: Mutex::new(Some(outbox)),
                thread: Mutex::new(Thread::Running(thread)),
                stop,
            }),
            Ok(Err(error)) => {
                thread.join().ok();
                Err(error)
            }
            Err(_) => Err(NotStarted("it panicked".into()).into()),
        }
    }

    /// Tells the thread something.
    pub fn send(&self, command: C) {
        if let Some(outbox) = &*self.lock() {
            outbox.send(command);
        }
    }

    /// A way to tell it things that outlives this borrow. `None` once it was told to stop.
    pub fn outbox(&self) -> Option<Outbox<C>> {
        self.lock().clone()
    }

    /// Asks the thread; once it has ended, what it left behind. `None` only after a panic of the thread.
    pub fn ask(&self, question: impl FnOnce(Reply<R>) -> C) -> Option<R> {
        let (reply, answer) = mpsc::channel();
        self.send(question(reply));
        answer.recv().ok().or_else(|| self.join())
    }

    /// Has the thread end, and returns what it left behind, also when called again.
    pub fn stop(&self) -> Option<R> {
        self.send((self.stop)());
        *self.lock() = None;
        self.join()
    }

    fn join(&self) -> Option<R> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = match std::mem::replace(&mut *thread, Thread::Ended(None)) {
            Thread::Running(handle) => handle.join().ok().flatten().map(Box::new),
            Thread::Ended(left) => left,
        };
        *thread = Thread::Ended(ended.clone());
        ended.map(|left| *left)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Outbox<C>>> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C, R> Drop for Handle<C, R> {
    fn drop(&mut self) {
        if let Some(outbox) = self.outbox.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            outbox.send((self.stop)());
        }
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Thread::Running(handle) = std::mem::replace(thread, Thread::Ended(None)) {
            handle.join().ok();
        }
    }
}
