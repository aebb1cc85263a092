//! What there is to tell of TLS at the ends that are streams.

use super::Worker;
use super::ends::Side;
use crate::event::EventKind;
use crate::stream::notice::Notice;

impl Worker {
    /// Tells what has happened to handshakes and credentials.
    pub(super) fn tell_of_tls(&mut self) {
        for side in [Side::Output, Side::Input] {
            while let Some(notice) = self.ends.stream(side).and_then(|end| end.peers.take_notice()) {
                let (text, code) = (notice.to_string(), notice.code());
                if self.is_to_be_told(side, &notice, &text) {
                    let kind = code.map_or(EventKind::CredentialsRenewed, |_| EventKind::Warning);
                    self.tell_of_peer(side, kind, &text, code);
                }
            }
        }
    }

    /// News of credentials come once; of failures the same comes again and again.
    fn is_to_be_told(&mut self, side: Side, notice: &Notice, text: &str) -> bool {
        if let Notice::News(_) = notice {
            return true;
        }
        self.tls_failures += 1;
        self.ends.stream(side).is_some_and(|end| end.told.is_to_be_told(text))
    }
}
