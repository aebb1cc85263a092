//! The credentials of a stream end, and what there is to tell of them.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use tapferry_tls::{Credentials, News, Side, Watch};

use super::error::StreamError;
use crate::thread::Outbox;

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
        let (outbox, news) = Outbox::new(wake);
        let watch = Watch::begin(&credentials, Box::new(move |item| outbox.send(item)))
            .map_err(|error| StreamError::no_thread(&error))?;
        Ok(Self { credentials, news, _watch: watch })
    }

    /// What has happened to them.
    pub(super) fn take_news(&self) -> Option<News> {
        self.news.try_recv().ok()
    }
}
