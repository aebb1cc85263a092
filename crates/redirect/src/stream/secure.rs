//! The credentials of a stream end, and what there is to tell of them.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};

use tapferry_sys::Errno;
use tapferry_tls::{Credentials, News, Side, Watch};

use super::error::{Attempt, StreamError};

/// Credentials that are looked at again for as long as the end is there.
#[derive(Debug)]
pub(super) struct Secure {
    pub(super) credentials: Arc<Credentials>,
    news: Receiver<News>,
    _watch: Watch,
}

impl Secure {
    /// Reads a directory, watches it, and rings `wake` when there is news of it.
    pub(super) fn open(directory: &Path, side: Side, wake: &Arc<OwnedFd>) -> Result<Self, StreamError> {
        let credentials = Credentials::open(directory, side).map_err(StreamError::Credentials)?;
        let (tell, news) = mpsc::channel();
        let wake = Arc::clone(wake);
        let teller = move |item| {
            if tell.send(item).is_ok() {
                rustix::io::write(wake.as_fd(), &1_u64.to_ne_bytes()).ok();
            }
        };
        let watch = Watch::begin(&credentials, Box::new(teller)).map_err(|error| {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::AGAIN);
            StreamError::Refused { attempt: Attempt::StartThread, errno }
        })?;
        Ok(Self { credentials, news, _watch: watch })
    }

    /// What has happened to them.
    pub(super) fn take_news(&self) -> Option<News> {
        self.news.try_recv().ok()
    }
}
