//! The files of QEMU's `tls-creds-x509`, as they are at one moment.
//!
//! | file | server | client |
//! | --- | --- | --- |
//! | `ca-cert.pem` | whom it believes | whom it believes |
//! | `ca-crl.pem` | optional: who is not believed any more | the same |
//! | `server-cert.pem`, `server-key.pem` | what it shows | |
//! | `client-cert.pem`, `client-key.pem` | | what it shows; optional, and then it shows nothing |

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use crate::credentials::Side;
use crate::error::{CredentialsError, Fault};

/// Of the certificates of those who sign others.
pub const CA_CERT: &str = "ca-cert.pem";
/// Of the certificates that were called back.
pub const CA_CRL: &str = "ca-crl.pem";

/// Which files a side reads.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) directory: PathBuf,
    pub(crate) ca: PathBuf,
    pub(crate) crl: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// What a file was when it was looked at: a file that was replaced or written to has another.
pub(crate) type Stamp = Option<(u64, u64, u64, i64, i64, i64)>;

/// What was in them.
pub(crate) struct Files {
    pub(crate) authorities: Vec<CertificateDer<'static>>,
    pub(crate) revoked: Vec<CertificateRevocationListDer<'static>>,
    /// A chain, its own certificate first, and the key of that.
    pub(crate) identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

impl Layout {
    pub(crate) fn new(directory: &Path, side: Side) -> Self {
        let file = |name: &str| directory.join(name);
        Self {
            directory: directory.to_owned(),
            ca: file(CA_CERT),
            crl: file(CA_CRL),
            certificate: file(&format!("{side}-cert.pem")),
            key: file(&format!("{side}-key.pem")),
        }
    }

    /// What the files are now, without opening them.
    pub(crate) fn stamps(&self) -> [Stamp; 4] {
        [&self.ca, &self.crl, &self.certificate, &self.key].map(|file| {
            let file = fs::metadata(file).ok()?;
            Some((file.dev(), file.ino(), file.size(), file.mtime(), file.mtime_nsec(), file.ctime()))
        })
    }

    /// Reads them all.
    pub(crate) fn read(&self, side: Side) -> Result<Files, CredentialsError> {
        if !self.directory.is_dir() && !is_forbidden(&self.directory) {
            return Err(CredentialsError::new(&self.directory, Fault::NoDirectory));
        }
        let authorities = all_of(&self.ca, &required(&self.ca)?, "certificate")?;
        let revoked = match optional(&self.crl)? {
            Some(text) => all_of(&self.crl, &text, "revocation list")?,
            None => Vec::new(),
        };
        // A client whose server asks for no certificate needs none; half of a pair is a mistake.
        let identity = match (side, optional(&self.certificate)?, optional(&self.key)?) {
            (Side::Client, None, None) => None,
            (_, None, _) => return Err(CredentialsError::new(&self.certificate, Fault::Missing)),
            (_, _, None) => return Err(CredentialsError::new(&self.key, Fault::Missing)),
            (_, Some(certificate), Some(key)) => {
                let chain = all_of(&self.certificate, &certificate, "certificate")?;
                Some((chain, private_key(&self.key, &key)?))
            }
        };
        Ok(Files { authorities, revoked, identity })
    }
}

fn is_forbidden(file: &Path) -> bool {
    fs::metadata(file).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

fn required(file: &Path) -> Result<Vec<u8>, CredentialsError> {
    optional(file)?.ok_or_else(|| CredentialsError::new(file, Fault::Missing))
}

fn optional(file: &Path) -> Result<Option<Vec<u8>>, CredentialsError> {
    fs::read(file).map(Some).or_else(|error| match error.kind() {
        ErrorKind::NotFound => Ok(None),
        ErrorKind::PermissionDenied => Err(CredentialsError::new(file, Fault::Forbidden)),
        _ => Err(CredentialsError::new(file, Fault::Unreadable(error.to_string()))),
    })
}

fn all_of<T: PemObject>(file: &Path, text: &[u8], what: &'static str) -> Result<Vec<T>, CredentialsError> {
    let all =
        T::pem_slice_iter(text).collect::<Result<Vec<_>, _>>().map_err(|error| unread(file, what, &error))?;
    if all.is_empty() {
        return Err(CredentialsError::new(file, Fault::Empty(what)));
    }
    Ok(all)
}

fn private_key(file: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, CredentialsError> {
    // PKCS #8 says so in its label, the older forms in a header (RFC 1421).
    let is_encrypted = String::from_utf8_lossy(text).lines().any(|line| {
        line.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY") || line.starts_with("Proc-Type: 4,ENCRYPTED")
    });
    if is_encrypted {
        return Err(CredentialsError::new(file, Fault::Encrypted));
    }
    PrivateKeyDer::from_pem_slice(text).map_err(|error| unread(file, "private key", &error))
}

fn unread(file: &Path, what: &'static str, error: &pem::Error) -> CredentialsError {
    let fault = match error {
        pem::Error::NoItemsFound => Fault::Empty(what),
        error => Fault::Malformed(format!("its {what} cannot be read: {error}")),
    };
    CredentialsError::new(file, fault)
}
