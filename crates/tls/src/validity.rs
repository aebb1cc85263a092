//! From when to when a certificate counts.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::{DateTime, Decode};

use crate::error::Fault;

/// A certificate that has so little time left is told of.
pub const EXPIRING: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// A moment, in seconds since 1970; shown as RFC 3339 has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl Moment {
    /// By the wall clock (CLOCK_REALTIME).
    pub fn now() -> Self {
        Self(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::from_unix_duration(Duration::from_secs(self.0)) {
            Ok(date) => date.fmt(f),
            // X.509 ends with the year 9999.
            Err(_) => write!(f, "{} s after 1970", self.0),
        }
    }
}

/// The validity of a certificate, both ends included (RFC 5280, section 4.1.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// It does not count before.
    pub not_before: Moment,
    /// Nor after.
    pub not_after: Moment,
}

impl Validity {
    /// What a certificate in DER says. `None`: it cannot be read.
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let certificate = CertificateInner::<Raw>::from_der(certificate).ok()?;
        let validity = certificate.tbs_certificate().validity();
        Some(Self {
            not_before: Moment(validity.not_before.to_unix_duration().as_secs()),
            not_after: Moment(validity.not_after.to_unix_duration().as_secs()),
        })
    }

    /// What is wrong with the certificate at a moment that does not lie in it.
    pub(crate) fn check(&self, moment: Moment) -> Result<(), Fault> {
        if moment > self.not_after {
            Err(Fault::Expired(self.not_after))
        } else if moment < self.not_before {
            Err(Fault::NotYetValid(self.not_before))
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_reads_as_a_date() {
        assert_eq!(Moment(1_795_839_000).to_string(), "2026-11-28T04:10:00Z");
        assert_eq!(Moment(u64::MAX).to_string(), "18446744073709551615 s after 1970");
    }

    #[test]
    fn both_ends_belong_to_it() {
        let validity = Validity { not_before: Moment(10), not_after: Moment(20) };
        let counts = [9, 10, 20, 21].map(|at| validity.check(Moment(at)).is_ok());
        assert_eq!(counts, [false, true, true, false]);
    }
}
