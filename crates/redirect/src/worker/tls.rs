//! What there is to tell of TLS at the ends that are streams.

use std::time::Duration;

use tapferry_sys::clock;

use super::ends::Side;
use super::{Worker, nanos};
use crate::event::EventKind;
use crate::stream::notice::Notice;

/// The same failure is told this often at most: a peer that tries again and again must not fill the log.
const TELL_AGAIN: Duration = Duration::from_secs(60);
/// Nor must one that fails in another way each time.
const KINDS_TOLD: usize = 8;

impl Worker {
    /// Tells what has happened to handshakes and credentials.
    pub(super) fn tell_of_tls(&mut self) {
        for side in [Side::Output, Side::Input] {
            while let Some(notice) = self.ends.stream(side).and_then(|end| end.peers.take_notice()) {
                if self.is_to_be_told(side, &notice) {
                    let code = notice.code();
                    let kind = code.map_or(EventKind::CredentialsRenewed, |_| EventKind::Warning);
                    self.tell_of_peer(side, kind, &notice.to_string(), code);
                }
            }
        }
    }

    /// News of credentials come once; of failures the same comes again and again.
    fn is_to_be_told(&mut self, side: Side, notice: &Notice) -> bool {
        if let Notice::News(_) = notice {
            return true;
        }
        self.tls_failures += 1;
        let now = clock::monotonic_ns();
        let text = notice.to_string();
        let Some(end) = self.ends.stream(side) else { return false };
        end.told.retain(|(_, at)| now.saturating_sub(*at) < nanos(TELL_AGAIN));
        let is_new = end.told.len() < KINDS_TOLD && end.told.iter().all(|(told, _)| *told != text);
        if is_new {
            end.told.push((text, now));
        }
        is_new
    }
}
