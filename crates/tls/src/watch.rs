//! Files that are renewed, and certificates that are about to expire.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::credentials::{Credentials, Expiry};
use crate::directory::Stamp;
use crate::error::CredentialsError;
use crate::validity::{EXPIRING, Moment};

/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(2);

/// What there is to tell of credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// The files are others, and new connections use them.
    Renewed,
    /// The files are others, and of no use: what was read before stays.
    NotRenewed(CredentialsError),
    /// A certificate is about to expire.
    Expiring(Expiry),
    /// A certificate has expired.
    Expired(Expiry),
}

/// Who is told. Called on a thread of its own.
pub type Teller = Box<dyn FnMut(News) + Send>;

/// A thread that looks at the files of credentials again and again. Dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    ending: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Begins to watch, and tells at once what is about to expire.
    pub fn begin(credentials: &Arc<Credentials>, mut tell: Teller) -> std::io::Result<Self> {
        let mut watcher = Watcher::new(Arc::clone(credentials));
        let (ending, ended) = mpsc::channel::<()>();
        let thread = thread::Builder::new().name("tls-creds".into()).spawn(move || {
            loop {
                watcher.look(Moment::now(), &mut tell);
                if ended.recv_timeout(LOOK) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        })?;
        Ok(Self { ending: Some(ending), thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.ending = None;
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

struct Watcher {
    credentials: Arc<Credentials>,
    /// Files that were of no use, and whether that was told: between two files of a renewal they are so, too.
    useless: Option<([Stamp; 4], bool)>,
    /// What was told of certificates that end.
    told: Vec<News>,
}

impl Watcher {
    fn new(credentials: Arc<Credentials>) -> Self {
        Self { credentials, useless: None, told: Vec::new() }
    }

    fn look(&mut self, now: Moment, tell: &mut impl FnMut(News)) {
        let stamps = self.credentials.stamps();
        if self.credentials.is_stale(&stamps) {
            self.renew(stamps, tell);
        }
        for expiry in self.credentials.expiries() {
            let news = if now > expiry.at {
                News::Expired(expiry)
            } else if now.0 + EXPIRING.as_secs() > expiry.at.0 {
                News::Expiring(expiry)
            } else {
                continue;
            };
            if !self.told.contains(&news) {
                self.told.push(news.clone());
                tell(news);
            }
        }
    }

    fn renew(&mut self, stamps: [Stamp; 4], tell: &mut impl FnMut(News)) {
        if self.useless.is_some_and(|(useless, told)| told && useless == stamps) {
            return;
        }
        match self.credentials.renew() {
            Ok(()) => {
                self.useless = None;
                tell(News::Renewed);
            }
            // Whoever writes them may be between two of them. What is still the same at the next look is told.
            Err(error) => {
                let again = self.useless.is_some_and(|(useless, _)| useless == stamps);
                self.useless = Some((stamps, again));
                if again {
                    tell(News::NotRenewed(error));
                }
            }
        }
    }
}
