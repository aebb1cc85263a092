//! What there is to tell of TLS at a stream end: handshakes that failed, and credentials that were renewed or expire.

use std::fmt;

use tapferry_tls::validity::Moment;
use tapferry_tls::{Failure, News};

const SECONDS_A_DAY: u64 = 24 * 60 * 60;

/// What there is to tell of TLS. Displayed, it is one line with what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A connection came to nothing.
    Failure(Failure),
    /// Of our own credentials.
    News(News),
}

impl Notice {
    /// The stable code of a warning; `None`: all is well.
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Self::Failure(failure) => Some(failure.code()),
            Self::News(News::Renewed) => None,
            Self::News(News::NotRenewed(_)) => Some("TLS_NOT_RENEWED"),
            Self::News(News::Expiring(_)) => Some("TLS_EXPIRING"),
            Self::News(News::Expired(_)) => Some("TLS_EXPIRED"),
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failure(failure) => write!(f, "{failure}; {}", failure.hint()),
            Self::News(News::Renewed) => {
                f.write_str("the credentials were renewed; new connections use them")
            }
            Self::News(News::NotRenewed(error)) => {
                write!(f, "new credentials are of no use, the old ones stay: {error}; {}", error.hint())
            }
            Self::News(News::Expiring(expiry)) => {
                let left = match expiry.at.0.saturating_sub(Moment::now().0) / SECONDS_A_DAY {
                    0 => "in less than a day".to_owned(),
                    1 => "in a day".to_owned(),
                    days => format!("in {days} days"),
                };
                write!(f, "{} expires {left}, at {}: renew it", expiry.file.display(), expiry.at)
            }
            Self::News(News::Expired(expiry)) => {
                write!(
                    f,
                    "{} has expired, at {}: renew it, peers refuse it",
                    expiry.file.display(),
                    expiry.at
                )
            }
        }
    }
}
