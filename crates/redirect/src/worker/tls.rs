//! What there is to tell of TLS at the ends that are streams.

use std::time::Duration;

use tapferry_sys::clock;
use tapferry_tls::validity::Moment;
use tapferry_tls::{Failure, News};

use super::ends::Side;
use super::{Worker, nanos};
use crate::event::EventKind;
use crate::stream::peers::Notice;

/// The same failure is told this often at most: a peer that tries again and again must not fill the log.
const TELL_AGAIN: Duration = Duration::from_secs(60);
/// Nor must one that fails in another way each time.
const KINDS_TOLD: usize = 8;

impl Worker {
    /// Tells what has happened to handshakes and credentials.
    pub(super) fn tell_of_tls(&mut self) {
        for side in [Side::Output, Side::Input] {
            while let Some(notice) = self.ends.stream(side).and_then(|end| end.peers.take_notice()) {
                match notice {
                    Notice::Failure(failure) => self.tell_of_failure(side, &failure),
                    Notice::News(news) => self.tell_of_credentials(side, &news),
                }
            }
        }
    }

    fn tell_of_failure(&mut self, side: Side, failure: &Failure) {
        self.tls_failures += 1;
        let now = clock::monotonic_ns();
        let text = format!("{failure}; {}", failure.hint());
        let Some(end) = self.ends.stream(side) else { return };
        end.told.retain(|(_, at)| now.saturating_sub(*at) < nanos(TELL_AGAIN));
        if end.told.len() < KINDS_TOLD && end.told.iter().all(|(told, _)| *told != text) {
            end.told.push((text.clone(), now));
            self.tell_of_peer(side, EventKind::Warning, &text, Some(failure.code()));
        }
    }

    fn tell_of_credentials(&mut self, side: Side, news: &News) {
        let (kind, code) = match news {
            News::Renewed => (EventKind::CredentialsRenewed, None),
            News::NotRenewed(_) => (EventKind::Warning, Some("TLS_NOT_RENEWED")),
            News::Expiring(_) => (EventKind::Warning, Some("TLS_EXPIRING")),
            News::Expired(_) => (EventKind::Warning, Some("TLS_EXPIRED")),
        };
        let text = match news {
            News::Renewed => "the credentials were renewed; new connections use them".to_owned(),
            News::NotRenewed(error) => {
                format!("new credentials are of no use, the old ones stay: {error}; {}", error.hint())
            }
            News::Expiring(expiry) => {
                let days = expiry.at.0.saturating_sub(Moment::now().0) / SECONDS_A_DAY;
                format!("{} expires in {days} days, at {}: renew it", expiry.file.display(), expiry.at)
            }
            News::Expired(expiry) => {
                format!("{} has expired, at {}: renew it, peers refuse it", expiry.file.display(), expiry.at)
            }
        };
        self.tell_of_peer(side, kind, &text, code);
    }
}

const SECONDS_A_DAY: u64 = 24 * 60 * 60;
