//! Directories of credentials: what is taken, what is refused and how, and renewal under way.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc;
use std::time::Duration;

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use support::{Directory, connected, read_all, send_all, shake_with};
use tapferry_testbed::certificates::{Authority, Terms};
use tapferry_tls::{Credentials, News, Side, Watch};

fn refused(directory: &Directory, side: Side) -> (String, &'static str) {
    let error = Credentials::open(directory.path(), side).unwrap_err();
    assert!(!error.hint().is_empty());
    let name = error.file.file_name().unwrap().to_string_lossy().into_owned();
    (name, error.code())
}

#[test]
fn each_side_reads_its_own_files_and_says_which_is_missing() {
    let creds = Directory::new(&Terms::default());
    fs::remove_file(creds.path().join("server-key.pem")).unwrap();
    assert!(Credentials::open(creds.path(), Side::Client).is_ok());
    assert_eq!(refused(&creds, Side::Server), ("server-key.pem".into(), "TLS_CREDENTIALS_MISSING"));
    fs::remove_file(creds.path().join("ca-cert.pem")).unwrap();
    assert_eq!(refused(&creds, Side::Client), ("ca-cert.pem".into(), "TLS_CREDENTIALS_MISSING"));
    fs::remove_dir_all(creds.path()).unwrap();
    assert_eq!(refused(&creds, Side::Client).1, "TLS_CREDENTIALS_MISSING");
}

#[test]
fn a_key_of_another_certificate_and_a_certificate_of_another_ca_are_refused() {
    let (creds, others) = (Directory::new(&Terms::default()), Directory::new(&Terms::default()));
    let take = |name: &str| fs::copy(others.path().join(name), creds.path().join(name)).unwrap();
    take("server-key.pem");
    assert_eq!(refused(&creds, Side::Server), ("server-key.pem".into(), "TLS_CREDENTIALS_INVALID"));
    take("server-cert.pem");
    assert_eq!(refused(&creds, Side::Server), ("server-cert.pem".into(), "TLS_CREDENTIALS_INVALID"));
    take("ca-cert.pem");
    assert!(Credentials::open(creds.path(), Side::Server).is_ok());
}

#[test]
fn a_certificate_of_the_other_side_is_for_something_else() {
    let creds = Directory::new(&Terms::default());
    for what in ["cert", "key"] {
        let file = |side: &str| creds.path().join(format!("{side}-{what}.pem"));
        fs::copy(file("client"), file("server")).unwrap();
    }
    let error = Credentials::open(creds.path(), Side::Server).unwrap_err();
    assert!(
        error.to_string().ends_with("its extended key usage does not let it be that of a TLS server"),
        "{error}"
    );
}

#[test]
fn what_has_expired_or_is_not_valid_yet_is_refused_and_so_is_a_ca_that_has() {
    let cases = [
        (Terms { until: -60, ..Terms::default() }, "server-cert.pem", "it has expired, at 20"),
        (Terms { from: 3600, ..Terms::default() }, "server-cert.pem", "it is not valid before 20"),
        (Terms { authority_until: -60, ..Terms::default() }, "ca-cert.pem", "it has expired, at 20"),
    ];
    for (terms, file, text) in cases {
        let creds = Directory::new(&terms);
        let error = Credentials::open(creds.path(), Side::Server).unwrap_err();
        assert_eq!(error.code(), "TLS_CREDENTIALS_EXPIRED");
        assert!(error.to_string().contains(&format!("{file}: {text}")), "{error}");
    }
}

#[test]
fn an_encrypted_key_says_how_to_decrypt_it() {
    let creds = Directory::new(&Terms::default());
    for label in [
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\n",
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n",
    ] {
        fs::write(creds.path().join("server-key.pem"), label).unwrap();
        let error = Credentials::open(creds.path(), Side::Server).unwrap_err();
        assert!(error.to_string().contains("the key is encrypted"), "{error}");
        assert!(error.hint().contains("openssl pkey -in"), "{}", error.hint());
    }
}

#[test]
fn a_file_without_pem_and_one_with_broken_pem_are_told_apart() {
    let creds = Directory::new(&Terms::default());
    let open = || Credentials::open(creds.path(), Side::Server).unwrap_err().to_string();
    fs::write(creds.path().join("server-cert.pem"), "nothing").unwrap();
    assert!(open().ends_with("there is no certificate in PEM in it"), "{}", open());
    fs::write(
        creds.path().join("server-cert.pem"),
        "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    assert!(open().contains("its certificate cannot be read"), "{}", open());
}

#[test]
fn a_key_that_may_not_be_read_is_a_matter_of_permission() {
    let creds = Directory::new(&Terms::default());
    let key = creds.path().join("server-key.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o000)).unwrap();
    // Of this thread alone: root reads every file.
    let sets = capabilities(None).unwrap();
    let effective = sets.effective - (CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH);
    set_capabilities(None, CapabilitySets { effective, ..sets }).unwrap();
    assert_eq!(refused(&creds, Side::Server), ("server-key.pem".into(), "PERMISSION"));
}

#[test]
fn a_renewal_serves_new_connections_and_leaves_running_ones_alone() {
    let old = Terms::default();
    let creds = Directory::new(&old);
    let (client, server) = (creds.open(Side::Client), creds.open(Side::Server));
    let (tell, told) = mpsc::channel();
    let _watch = Watch::begin(&server, Box::new(move |news| drop(tell.send(news)))).unwrap();
    let (running, mut other_end) = shake_with(&client, &server, "localhost");
    let mut running = running.unwrap();

    let renewed = Terms { names: vec!["renewed.example".into()], ..old };
    Authority::of(creds.path()).unwrap().write(creds.path(), &renewed).unwrap();
    assert_eq!(told.recv_timeout(Duration::from_secs(10)), Ok(News::Renewed));
    shake_with(&client, &server, "renewed.example").0.unwrap();
    assert_eq!(shake_with(&client, &server, "localhost").0.unwrap_err().code(), "TLS_WRONG_NAME");

    send_all(&mut running, b"still here");
    assert_eq!(read_all(other_end.as_mut().unwrap(), 10), b"still here");
}

#[test]
fn a_renewal_of_no_use_is_told_once_and_changes_nothing() {
    let creds = Directory::new(&Terms::default());
    let server = creds.open(Side::Server);
    let (tell, told) = mpsc::channel();
    let watch = Watch::begin(&server, Box::new(move |news| drop(tell.send(news)))).unwrap();
    fs::write(creds.path().join("server-key.pem"), "half a fi").unwrap();
    let Ok(News::NotRenewed(error)) = told.recv_timeout(Duration::from_secs(10)) else { panic!("not told") };
    assert_eq!(error.code(), "TLS_CREDENTIALS_INVALID");
    shake_with(&creds.open(Side::Client), &server, "localhost").0.unwrap();
    drop(watch);
    assert_eq!(told.try_recv().ok(), None);
}

#[test]
fn what_will_expire_soon_is_told_at_the_start_the_ca_as_well() {
    const DAY: i64 = 24 * 60 * 60;
    let creds = Directory::new(&Terms { until: 13 * DAY, authority_until: 12 * DAY, ..Terms::default() });
    let (tell, told) = mpsc::channel();
    let _watch =
        Watch::begin(&creds.open(Side::Client), Box::new(move |news| drop(tell.send(news)))).unwrap();
    for expected in ["ca-cert.pem", "client-cert.pem"] {
        let Ok(News::Expiring(expiry)) = told.recv_timeout(Duration::from_secs(5)) else {
            panic!("not told")
        };
        assert!(expiry.file.ends_with(expected), "{expiry:?}");
    }
    let (fine, _) = connected(&creds, &creds, "localhost");
    drop(fine);
}
