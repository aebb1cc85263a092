//! What a side shows to its peers, and whom it believes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::{Resumption, WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::{ParsedCertificate, StoresServerSessions, VerifierBuilderError, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, ClientConfig, RootCertStore, ServerConfig};

use crate::directory::{Files, Layout, Stamp};
use crate::error::{CredentialsError, Fault};
use crate::validity::{Moment, Validity};

/// Bytes of a TLS record at most, with its header of five (RFC 8446, section 5.1). A QEMU reads 4096 bytes at once
/// (CHR_READ_BUF_LEN, include/chardev/char.h), and what GnuTLS keeps of a longer record for the next time it does not see
/// until more comes: the last frames of a burst would wait there for those of the next one.
const LONGEST_RECORD: usize = 5 + 4096;

/// Which side of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// It was connected to.
    Server,
    /// It has connected.
    Client,
}

impl Side {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Server => Self::Client,
            Self::Client => Self::Server,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server => "server",
            Self::Client => "client",
        })
    }
}

/// A file whose certificate will expire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// Which.
    pub file: PathBuf,
    /// After this moment nobody believes it.
    pub at: Moment,
}

/// The credentials of one side, from a directory in QEMU's layout. Connections that begin use what it holds then.
#[derive(Debug)]
pub struct Credentials {
    layout: Layout,
    side: Side,
    current: Mutex<Arc<Loaded>>,
}

/// What was in the directory at one moment.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) config: Config,
    /// Whether a client has a certificate to show.
    pub(crate) has_identity: bool,
    expiries: Vec<Expiry>,
    stamps: [Stamp; 4],
}

#[derive(Debug, Clone)]
pub(crate) enum Config {
    Server(Arc<ServerConfig>),
    Client(Arc<ClientConfig>),
}

impl Credentials {
    /// Reads and checks a directory. What QEMU would not start with is an error here, too.
    pub fn open(directory: &Path, side: Side) -> Result<Arc<Self>, CredentialsError> {
        let layout = Layout::new(directory, side);
        let current = Mutex::new(Arc::new(Loaded::load(&layout, side)?));
        Ok(Arc::new(Self { layout, side, current }))
    }

    /// Which side they are for.
    pub fn side(&self) -> Side {
        self.side
    }

    /// When its certificates expire, the first to do so first: our own (with those between it and the CA), and the CA's.
    pub fn expiries(&self) -> Vec<Expiry> {
        self.current().expiries.clone()
    }

    pub(crate) fn current(&self) -> Arc<Loaded> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the files are others than those that were read.
    pub(crate) fn is_stale(&self, stamps: &[Stamp; 4]) -> bool {
        self.current().stamps != *stamps
    }

    pub(crate) fn stamps(&self) -> [Stamp; 4] {
        self.layout.stamps()
    }

    /// Reads the directory again. Where that fails, what was there before stays.
    pub fn renew(&self) -> Result<(), CredentialsError> {
        let loaded = Arc::new(Loaded::load(&self.layout, self.side)?);
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(())
    }
}

impl Loaded {
    fn load(layout: &Layout, side: Side) -> Result<Self, CredentialsError> {
        // Before the files themselves: what changes meanwhile is looked at again.
        let stamps = layout.stamps();
        let Files { authorities, revoked, identity } = layout.read(side)?;
        let provider = Arc::new(ring::default_provider());
        // The library does not look at when a CA's own certificate ends; QEMU does.
        let mut expiries = vec![first_expiry(&layout.ca, &authorities)?];
        let roots = Arc::new(roots(&layout.ca, authorities)?);
        let key = match identity {
            None => None,
            Some((chain, key)) => {
                expiries.push(check_chain(layout, side, &chain, &roots, &provider)?);
                let key = CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
                    rustls::Error::InconsistentKeys(_) => CredentialsError::new(&layout.key, Fault::OtherKey),
                    error => CredentialsError::new(
                        &layout.key,
                        Fault::Malformed(format!("no key of use: {error}")),
                    ),
                })?;
                Some(Arc::new(SingleCertAndKey::from(key)))
            }
        };
        expiries.sort_by_key(|expiry| expiry.at);
        let has_identity = key.is_some();
        let crl_failed = |error: VerifierBuilderError| {
            CredentialsError::new(&layout.crl, Fault::Malformed(format!("it cannot be used: {error}")))
        };
        let config = match (side, key) {
            (Side::Server, Some(key)) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
                    .with_crls(revoked)
                    .allow_unknown_revocation_status()
                    .build()
                    .map_err(crl_failed)?;
                let mut config = ServerConfig::builder_with_provider(provider)
                    .with_safe_default_protocol_versions()
                    .map_err(|error| unusable(layout, &error))?
                    .with_client_cert_verifier(verifier)
                    .with_cert_resolver(key);
                config.session_storage = Arc::new(Forgetful);
                config.send_tls13_tickets = 1;
                config.max_fragment_size = Some(LONGEST_RECORD);
                Config::Server(Arc::new(config))
            }
            (Side::Server, None) => return Err(CredentialsError::new(&layout.certificate, Fault::Missing)),
            (Side::Client, key) => {
                let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
                    .with_crls(revoked)
                    .allow_unknown_revocation_status()
                    .build()
                    .map_err(crl_failed)?;
                let builder = ClientConfig::builder_with_provider(provider)
                    .with_safe_default_protocol_versions()
                    .map_err(|error| unusable(layout, &error))?
                    .with_webpki_verifier(verifier);
                let mut config = match key {
                    Some(key) => builder.with_client_cert_resolver(key),
                    None => builder.with_no_client_auth(),
                };
                // Each connection shows and sees certificates.
                config.resumption = Resumption::disabled();
                config.max_fragment_size = Some(LONGEST_RECORD);
                Config::Client(Arc::new(config))
            }
        };
        Ok(Self { config, has_identity, expiries, stamps })
    }
}

fn unusable(layout: &Layout, error: &rustls::Error) -> CredentialsError {
    CredentialsError::new(&layout.directory, Fault::Malformed(error.to_string()))
}

/// The certificate that ends first, if all are valid now.
fn first_expiry(file: &Path, certificates: &[CertificateDer<'_>]) -> Result<Expiry, CredentialsError> {
    let now = Moment::now();
    let mut first = Moment(u64::MAX);
    for certificate in certificates {
        let malformed = || Fault::Malformed("a certificate in it cannot be read".into());
        let validity = Validity::of(certificate).ok_or_else(|| CredentialsError::new(file, malformed()))?;
        validity.check(now).map_err(|fault| CredentialsError::new(file, fault))?;
        first = first.min(validity.not_after);
    }
    Ok(Expiry { file: file.to_owned(), at: first })
}

fn roots(file: &Path, authorities: Vec<CertificateDer<'static>>) -> Result<RootCertStore, CredentialsError> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority).map_err(|error| {
            CredentialsError::new(
                file,
                Fault::Malformed(format!("its certificate is not that of a CA: {error}")),
            )
        })?;
    }
    Ok(roots)
}

/// Whether a peer with the same CA will believe us.
fn check_chain(
    layout: &Layout,
    side: Side,
    chain: &[CertificateDer<'static>],
    roots: &Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
) -> Result<Expiry, CredentialsError> {
    let file = &layout.certificate;
    let expiry = first_expiry(file, chain)?;
    let (own, between) = (&chain[0], &chain[1..]);
    let checked = match side {
        Side::Server => ParsedCertificate::try_from(own).and_then(|own| {
            let algorithms = provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&own, roots, between, UnixTime::now(), algorithms)
        }),
        Side::Client => WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider))
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))
            .and_then(|verifier| verifier.verify_client_cert(own, between, UnixTime::now()).map(drop)),
    };
    checked.map(|()| expiry).map_err(|error| {
        let fault = match error {
            rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            ) => Fault::OtherCa,
            rustls::Error::InvalidCertificate(
                CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. },
            ) => Fault::WrongUse(side),
            error => Fault::Malformed(format!("its certificate is not accepted: {error}")),
        };
        CredentialsError::new(file, fault)
    })
}

/// Has a server send a ticket, which tells a client at once that it was accepted, and forgets what it is for: every
/// connection shows its certificates.
#[derive(Debug)]
struct Forgetful;

impl StoresServerSessions for Forgetful {
    fn put(&self, _key: Vec<u8>, _value: Vec<u8>) -> bool {
        true
    }

    fn get(&self, _key: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn take(&self, _key: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn can_cache(&self) -> bool {
        true
    }
}
