//! What is wrong with a directory of credentials, in words an operator can act on.

use std::path::{Path, PathBuf};

use crate::credentials::Side;
use crate::validity::Moment;

/// What is wrong with a file of credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {fault}", file.display())]
pub struct CredentialsError {
    /// Which file, or the directory itself.
    pub file: PathBuf,
    /// What.
    pub fault: Fault,
}

/// What is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is not there.
    #[error("there is no such file")]
    Missing,
    /// The directory is not there, or is none.
    #[error("there is no such directory")]
    NoDirectory,
    /// We may not read it.
    #[error("we may not read it")]
    Forbidden,
    /// It cannot be read for another reason.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// What should be in it is not.
    #[error("there is no {0} in PEM in it")]
    Empty(&'static str),
    /// What is in it makes no sense.
    #[error("{0}")]
    Malformed(String),
    /// The key needs a passphrase.
    #[error("the key is encrypted, and nobody is here to type a passphrase")]
    Encrypted,
    /// The key is not that of the certificate.
    #[error("it is not the key of the certificate beside it")]
    OtherKey,
    /// The certificate is not signed by the CA beside it.
    #[error("it is not signed by the CA in ca-cert.pem beside it")]
    OtherCa,
    /// The certificate is for something else.
    #[error("its extended key usage does not let it be that of a TLS {0}")]
    WrongUse(Side),
    /// It does not count any more.
    #[error("it has expired, at {0}")]
    Expired(Moment),
    /// It does not count yet.
    #[error("it is not valid before {0}")]
    NotYetValid(Moment),
}

impl CredentialsError {
    pub(crate) fn new(file: &Path, fault: Fault) -> Self {
        Self { file: file.to_owned(), fault }
    }

    /// A stable code, the same in Rust, JavaScript and JSON.
    pub fn code(&self) -> &'static str {
        match self.fault {
            Fault::Forbidden => "PERMISSION",
            Fault::Missing | Fault::NoDirectory => "TLS_CREDENTIALS_MISSING",
            Fault::Expired(_) | Fault::NotYetValid(_) => "TLS_CREDENTIALS_EXPIRED",
            _ => "TLS_CREDENTIALS_INVALID",
        }
    }

    /// What to do next, in one line.
    pub fn hint(&self) -> String {
        let file = self.file.display();
        match &self.fault {
            Fault::Missing => {
                "a server needs ca-cert.pem, server-cert.pem and server-key.pem, a client ca-cert.pem, \
                               client-cert.pem and client-key.pem: QEMU's layout of tls-creds-x509"
                    .into()
            }
            Fault::NoDirectory => "give the directory of QEMU's tls-creds-x509 (its dir=)".into(),
            Fault::Forbidden => {
                format!("see `namei -l {file}`: it must be readable for the user that runs tapferry")
            }
            Fault::Unreadable(_) => format!("see `ls -l {file}`"),
            Fault::Empty(_) | Fault::Malformed(_) => {
                format!("see `openssl asn1parse -in {file}`, and make it anew if it is broken")
            }
            Fault::Encrypted => {
                format!("decrypt it: `openssl pkey -in {file} -out {file}.new`, and replace it")
            }
            Fault::OtherKey => {
                "copy certificate and key from the same place; `openssl x509 -noout -pubkey -in CERT` \
                                and `openssl pkey -pubout -in KEY` print the same for a pair"
                    .into()
            }
            Fault::OtherCa => format!("see `openssl verify -CAfile ca-cert.pem {file}`"),
            Fault::WrongUse(_) => format!(
                "see `openssl x509 -in {file} -noout -ext extendedKeyUsage`; certtool's templates say tls_www_server \
                 or tls_www_client"
            ),
            Fault::Expired(_) | Fault::NotYetValid(_) => {
                format!("see `openssl x509 -in {file} -noout -dates` and `date`")
            }
        }
    }
}
