//! Directories of certificates in QEMU's layout (`tls-creds-x509`), good ones and others.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SerialNumber, date_time_ymd,
};

/// The name of every CA made here: two of them differ in their keys alone.
const AUTHORITY: &str = "tapferry test CA";
const DAY: i64 = 24 * 60 * 60;
/// The number of every client's certificate; a server's is another.
const CLIENT: u64 = 2;
const SERVER: u64 = 1;

/// When and for whom certificates count.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Hosts and addresses that the server's is for.
    pub names: Vec<String>,
    /// From so many seconds from now on.
    pub from: i64,
    /// Up to so many seconds from now.
    pub until: i64,
    /// The CA's, too.
    pub authority_until: i64,
}

impl Default for Terms {
    /// A month, for this host.
    fn default() -> Self {
        Self {
            names: vec!["localhost".into(), "127.0.0.1".into()],
            from: -DAY,
            until: 30 * DAY,
            authority_until: 60 * DAY,
        }
    }
}

/// Writes what [`Authority::write`] does, signed by a new CA.
pub fn make(directory: &Path, terms: &Terms) -> io::Result<()> {
    Authority::new(terms).map_err(io::Error::other)?.write(directory, terms)
}

/// Whoever signs.
#[derive(Debug)]
pub struct Authority {
    certificate: String,
    key: String,
}

impl Authority {
    /// A new one.
    pub fn new(terms: &Terms) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let certificate = authority_params(terms).self_signed(&key)?.pem();
        Ok(Self { certificate, key: key.serialize_pem() })
    }

    /// The one that signed what is in a directory.
    pub fn of(directory: &Path) -> io::Result<Self> {
        let read = |name| fs::read_to_string(directory.join(name));
        Ok(Self { certificate: read("ca-cert.pem")?, key: read("ca-key.pem")? })
    }

    /// Writes QEMU's five files, and the CA's key beside them.
    pub fn write(&self, directory: &Path, terms: &Terms) -> io::Result<()> {
        fs::create_dir_all(directory)?;
        fs::write(directory.join("ca-cert.pem"), &self.certificate)?;
        fs::write(directory.join("ca-key.pem"), &self.key)?;
        for (side, usage) in
            [("server", ExtendedKeyUsagePurpose::ServerAuth), ("client", ExtendedKeyUsagePurpose::ClientAuth)]
        {
            let key = KeyPair::generate().map_err(io::Error::other)?;
            let certificate = self.issue(side, usage, &key, terms).map_err(io::Error::other)?;
            fs::write(directory.join(format!("{side}-key.pem")), key.serialize_pem())?;
            fs::write(directory.join(format!("{side}-cert.pem")), certificate.pem())?;
        }
        Ok(())
    }

    /// Calls the clients' certificates back: writes `ca-crl.pem`.
    pub fn revoke_clients(&self, directory: &Path, terms: &Terms) -> io::Result<()> {
        let list = self.revocation_list(terms).map_err(io::Error::other)?;
        fs::write(directory.join("ca-crl.pem"), list)
    }

    fn revocation_list(&self, terms: &Terms) -> Result<String, rcgen::Error> {
        let day = |seconds| date_time_ymd(1970, 1, 1) + from_now(seconds);
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(CLIENT),
            revocation_time: day(-DAY),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: day(-DAY),
            next_update: day(DAY),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer(terms)?)?.pem()
    }

    fn issuer(&self, terms: &Terms) -> Result<Issuer<'_, KeyPair>, rcgen::Error> {
        Ok(Issuer::new(authority_params(terms), KeyPair::from_pem(&self.key)?))
    }

    fn issue(
        &self,
        name: &str,
        usage: ExtendedKeyUsagePurpose,
        key: &KeyPair,
        terms: &Terms,
    ) -> Result<Certificate, rcgen::Error> {
        let is_server = usage == ExtendedKeyUsagePurpose::ServerAuth;
        let mut params = CertificateParams::new(if is_server { &terms.names[..] } else { &[] })?;
        params.serial_number = Some(SerialNumber::from(if is_server { SERVER } else { CLIENT }));
        params.distinguished_name = named(name);
        params.not_before = date_time_ymd(1970, 1, 1) + from_now(terms.from);
        params.not_after = date_time_ymd(1970, 1, 1) + from_now(terms.until);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![usage];
        params.signed_by(key, &self.issuer(terms)?)
    }
}

fn authority_params(terms: &Terms) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(AUTHORITY);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = date_time_ymd(1970, 1, 1) + from_now(terms.from.min(-DAY));
    params.not_after = date_time_ymd(1970, 1, 1) + from_now(terms.authority_until);
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// Since 1970.
fn from_now(seconds: i64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Duration::from_secs(now.saturating_add_signed(seconds))
}
