//! What went wrong with a peer, in words an operator can act on.

use std::fmt;

use rustix::io::Errno;
use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

use crate::credentials::Side;
use crate::validity::Moment;

/// Why a connection with TLS is over, or never was one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Which side we are.
    pub side: Side,
    /// What happened.
    pub cause: Cause,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// What the peer sends is no TLS.
    PlainPeer,
    /// The peer did not answer in time.
    Silent,
    /// The peer has left before both had agreed.
    Left,
    /// The peer has left right after the handshake: QEMU looks at certificates only then.
    Dismissed,
    /// The peer's certificate is not signed by a CA that we believe.
    UnknownCa,
    /// The peer's certificate has expired.
    Expired(Option<Moment>),
    /// The peer's certificate is not valid yet.
    NotYetValid(Option<Moment>),
    /// The peer's certificate is for other hosts.
    WrongName {
        /// The host that was dialled.
        host: String,
        /// Whom the certificate is for.
        names: Vec<String>,
    },
    /// The peer's certificate was called back.
    Revoked,
    /// The peer's certificate is for something else.
    WrongUse,
    /// The peer's certificate is not accepted for another reason.
    BadCertificate(String),
    /// The peer shows no certificate.
    NoCertificate,
    /// There is no version of TLS, or no cipher, that both know.
    NothingInCommon(String),
    /// The peer tells that it does not want us, or what is wrong with what we sent.
    Alert {
        /// What it said, as RFC 8446 spells it.
        alert: String,
        /// Whether we had a certificate to show.
        shown: bool,
    },
    /// The peer breaks the rules of TLS.
    Protocol(String),
    /// The kernel ends the connection.
    System(Errno),
}

impl Failure {
    /// What a library's error means. `shown`: whether we have shown a certificate.
    pub(crate) fn of(side: Side, error: &Error, shown: bool) -> Self {
        let cause = match error {
            Error::InvalidCertificate(error) => of_certificate(error),
            Error::NoCertificatesPresented => Cause::NoCertificate,
            Error::AlertReceived(alert) => Cause::Alert { alert: spelled(*alert), shown },
            Error::PeerIncompatible(why) => Cause::NothingInCommon(in_common(why)),
            error => Cause::Protocol(error.to_string()),
        };
        Self { side, cause }
    }

    /// A stable code, the same in Rust, JavaScript and JSON.
    pub fn code(&self) -> &'static str {
        match self.cause {
            Cause::PlainPeer => "TLS_PLAIN_PEER",
            Cause::Silent => "TLS_TIMEOUT",
            Cause::Left | Cause::Dismissed | Cause::System(_) => "TLS_CLOSED",
            Cause::UnknownCa => "TLS_UNKNOWN_CA",
            Cause::Expired(_) => "TLS_EXPIRED",
            Cause::NotYetValid(_) => "TLS_NOT_YET_VALID",
            Cause::WrongName { .. } => "TLS_WRONG_NAME",
            Cause::Revoked => "TLS_REVOKED",
            Cause::WrongUse | Cause::BadCertificate(_) => "TLS_BAD_CERTIFICATE",
            Cause::NoCertificate => "TLS_NO_CERTIFICATE",
            Cause::NothingInCommon(_) => "TLS_NOTHING_IN_COMMON",
            Cause::Alert { .. } => "TLS_REFUSED",
            Cause::Protocol(_) => "TLS_PROTOCOL",
        }
    }

    /// What to do next, in one line.
    pub fn hint(&self) -> String {
        let peer = self.side.other();
        match &self.cause {
            Cause::PlainPeer => {
                format!("give the peer its credentials (QEMU: tls-creds=ID with endpoint={peer}), or take `tls-creds` away here")
            }
            Cause::Silent | Cause::Left => format!(
                "does the peer speak TLS? See what it says itself; QEMU needs tls-creds=ID with endpoint={peer}"
            ),
            Cause::Dismissed => match self.side {
                Side::Client => "it may not believe our client-cert.pem: see what it says itself, and whether its \
                                 ca-cert.pem is ours"
                    .into(),
                Side::Server => "it may not believe our server-cert.pem, or know us by another name: see what it says \
                                 itself, its ca-cert.pem, and `openssl x509 -in server-cert.pem -noout -ext \
                                 subjectAltName`"
                    .into(),
            },
            Cause::UnknownCa => {
                "both sides need the same ca-cert.pem: compare `openssl x509 -in ca-cert.pem -noout -fingerprint`".into()
            }
            Cause::Expired(_) | Cause::NotYetValid(_) => format!(
                "see `openssl x509 -in {peer}-cert.pem -noout -dates` on the peer's host, and `date` on both"
            ),
            Cause::WrongName { names, .. } if names.is_empty() => {
                "make it with the host in its subject alternative names (certtool: dns_name, ip_address): a name in \
                 CN alone counts for nothing"
                    .into()
            }
            Cause::WrongName { .. } => {
                "dial the peer by a name that is in it, or make it with that name (certtool: dns_name, ip_address)"
                    .into()
            }
            Cause::Revoked => "it is in ca-crl.pem: give the peer a new one".into(),
            Cause::WrongUse => format!(
                "see `openssl x509 -in {peer}-cert.pem -noout -ext extendedKeyUsage` on the peer's host; certtool's \
                 template for it says tls_www_{peer}"
            ),
            Cause::BadCertificate(_) => {
                format!("see `openssl x509 -in {peer}-cert.pem -noout -text` on the peer's host")
            }
            Cause::NoCertificate => format!(
                "give the peer {peer}-cert.pem and {peer}-key.pem beside its ca-cert.pem"
            ),
            Cause::NothingInCommon(_) => "TLS 1.2 and 1.3 are spoken here: see the peer's priority= or version".into(),
            Cause::Alert { shown: false, .. } => format!(
                "there is no {side}-cert.pem to show it: put {side}-cert.pem and {side}-key.pem beside ca-cert.pem",
                side = self.side
            ),
            Cause::Alert { .. } => format!(
                "see `openssl x509 -in {}-cert.pem -noout -text` here, and what the peer says itself",
                self.side
            ),
            Cause::Protocol(_) | Cause::System(_) => "see what the peer says itself".into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peer = self.side.other();
        let until = |moment: &Option<Moment>| moment.map_or(String::new(), |moment| format!(" ({moment})"));
        match &self.cause {
            Cause::PlainPeer => f.write_str("the peer speaks no TLS"),
            Cause::Silent => f.write_str("the peer does not answer in TLS"),
            Cause::Left => f.write_str("the peer has left in the handshake of TLS"),
            Cause::Dismissed => {
                f.write_str("the peer has left right after the handshake of TLS, without a word")
            }
            Cause::UnknownCa => {
                write!(f, "the {peer}'s certificate is signed by a CA that is not in ca-cert.pem")
            }
            Cause::Expired(at) => write!(f, "the {peer}'s certificate has expired{}", until(at)),
            Cause::NotYetValid(at) => write!(f, "the {peer}'s certificate is not valid yet{}", until(at)),
            Cause::WrongName { host, names } if names.is_empty() => {
                write!(f, "the {peer}'s certificate is not for '{host}': it names no host")
            }
            Cause::WrongName { host, names } => {
                write!(f, "the {peer}'s certificate is not for '{host}', but for {}", names.join(", "))
            }
            Cause::Revoked => write!(f, "the {peer}'s certificate was called back"),
            Cause::WrongUse => write!(f, "the {peer}'s certificate is not for a TLS {peer}"),
            Cause::BadCertificate(why) => write!(f, "the {peer}'s certificate is not accepted: {why}"),
            Cause::NoCertificate => write!(f, "the {peer} shows no certificate"),
            Cause::NothingInCommon(why) => write!(f, "the peer's TLS has nothing in common with ours: {why}"),
            Cause::Alert { alert, .. } => write!(f, "the peer refuses with the alert '{alert}'"),
            Cause::Protocol(why) => write!(f, "the peer's TLS is wrong: {why}"),
            Cause::System(errno) => write!(f, "TLS connection lost: {errno}"),
        }
    }
}

impl std::error::Error for Failure {}

fn of_certificate(error: &CertificateError) -> Cause {
    match error {
        // A CA of the same name and another key is not found by its name, but by a signature that is wrong.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => Cause::UnknownCa,
        CertificateError::Expired => Cause::Expired(None),
        CertificateError::ExpiredContext { not_after, .. } => {
            Cause::Expired(Some(Moment(not_after.as_secs())))
        }
        CertificateError::NotValidYet => Cause::NotYetValid(None),
        CertificateError::NotValidYetContext { not_before, .. } => {
            Cause::NotYetValid(Some(Moment(not_before.as_secs())))
        }
        CertificateError::NotValidForNameContext { expected, presented } => Cause::WrongName {
            host: expected.to_str().into_owned(),
            names: presented.iter().map(|name| plain_name(name)).collect(),
        },
        CertificateError::Revoked => Cause::Revoked,
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => Cause::WrongUse,
        error => Cause::BadCertificate(error.to_string()),
    }
}

/// A name as people write it: the library shows its own types (`DnsName("host")`, `IpAddress(127.0.0.1)`).
fn plain_name(name: &str) -> String {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(name).trim_matches('"').to_owned()
}

fn in_common(why: &PeerIncompatible) -> String {
    match why {
        PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::SupportedVersionsExtensionRequired
        | PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled => "no version".into(),
        PeerIncompatible::NoCipherSuitesInCommon => "no cipher".into(),
        PeerIncompatible::NoKxGroupsInCommon => "no way to agree on a key".into(),
        PeerIncompatible::NoSignatureSchemesInCommon
        | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon => "no kind of signature".into(),
        why => format!("{why:?}"),
    }
}

/// An alert as RFC 8446, section 6, spells it: `unknown_ca`.
fn spelled(alert: AlertDescription) -> String {
    let alert = match alert {
        AlertDescription::UnknownCA => return "unknown_ca".into(),
        AlertDescription::UnknownPSKIdentity => return "unknown_psk_identity".into(),
        AlertDescription::Unknown(number) => return format!("number {number}"),
        alert => format!("{alert:?}"),
    };
    let mut spelled = String::new();
    for letter in alert.chars() {
        if letter.is_ascii_uppercase() && !spelled.is_empty() {
            spelled.push('_');
        }
        spelled.push(letter.to_ascii_lowercase());
    }
    spelled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_are_spelled_as_the_standard_does() {
        let spelled = [
            AlertDescription::BadCertificate,
            AlertDescription::UnknownCA,
            AlertDescription::CertificateRequired,
            AlertDescription::ProtocolVersion,
            AlertDescription::Unknown(200),
        ]
        .map(spelled);
        assert_eq!(
            spelled,
            ["bad_certificate", "unknown_ca", "certificate_required", "protocol_version", "number 200"]
        );
    }

    #[test]
    fn names_lose_the_librarys_clothes() {
        let names = ["DnsName(\"a.example\")", "IpAddress(127.0.0.1)", "odd"].map(plain_name);
        assert_eq!(names, ["a.example", "127.0.0.1", "odd"]);
    }
}
