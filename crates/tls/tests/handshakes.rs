//! Two sides over a real socket: who gets on with whom, and what each says if not.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, recv};
use rustls::client::WantsClientCert;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, ConfigBuilder, RootCertStore};
use support::{Directory, connected, read_all, send_all, shake};
use tapferry_testbed::certificates::{Authority, Terms};
use tapferry_tls::{Channel, ChannelError, Failure, Handshakes, Received, Side};

#[test]
fn frames_arrive_whole_and_in_order_in_both_directions() {
    let creds = Directory::new(&Terms::default());
    let (mut client, mut server) = connected(&creds, &creds, "localhost");
    let message: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    send_all(&mut client, &message);
    assert_eq!(read_all(&mut server, message.len()), message);
    send_all(&mut server, &message);
    assert_eq!(read_all(&mut client, message.len()), message);
}

/// A QEMU that has read a part of a record forgets about the rest of it until more comes.
#[test]
fn a_record_is_as_long_as_qemu_reads_at_once() {
    const HEADER: usize = 5;
    /// Type and tag of TLS 1.3, in bytes.
    const AROUND: usize = 17;
    let creds = Directory::new(&Terms::default());
    let (mut client, mut server) = connected(&creds, &creds, "localhost");
    let records = |from: &mut Channel, to: &Channel| {
        send_all(from, &[7; 10_000]);
        let mut wire = [0; 20_000];
        let (filled, _) = recv(to, &mut wire[..], RecvFlags::PEEK).unwrap();
        let mut rest = &wire[..filled];
        let mut lengths = Vec::new();
        while let [_, _, _, high, low, ..] = *rest {
            let length = usize::from(u16::from_be_bytes([high, low]));
            lengths.push(length - AROUND);
            rest = &rest[HEADER + length..];
        }
        lengths
    };
    assert_eq!(records(&mut client, &server), [4096, 4096, 1808]);
    assert_eq!(records(&mut server, &client), [4096, 4096, 1808]);
}

#[test]
fn an_address_is_a_name_as_well() {
    let creds = Directory::new(&Terms::default());
    connected(&creds, &creds, "127.0.0.1");
}

#[test]
fn one_who_leaves_says_goodbye() {
    let creds = Directory::new(&Terms::default());
    let (client, mut server) = connected(&creds, &creds, "localhost");
    drop(client);
    assert_eq!(server.receive(&mut [0; 10]), Ok(Received::Closed));
}

#[test]
fn a_ca_of_the_same_name_and_another_key_is_another_ca() {
    let (ours, theirs) = (Directory::new(&Terms::default()), Directory::new(&Terms::default()));
    let (client, server) = shake(&ours, &theirs, "localhost");
    assert_eq!(client.unwrap_err().code(), "TLS_UNKNOWN_CA");
    let refusal = server.unwrap_err();
    assert_eq!(refusal.code(), "TLS_REFUSED");
    assert!(refusal.to_string().contains("alert '"), "{refusal}");
}

#[test]
fn a_server_tells_a_client_of_another_ca_that_it_is_one() {
    let ours = Directory::new(&Terms::default());
    let theirs = Directory::new(&Terms::default());
    // The client believes the server's CA, and shows a certificate of its own.
    let mixed = Directory::empty();
    for name in ["client-cert.pem", "client-key.pem"] {
        std::fs::copy(theirs.path().join(name), mixed.path().join(name)).unwrap();
    }
    let both = ["ca-cert.pem"].map(|name| {
        [ours.path(), theirs.path()].map(|from| std::fs::read_to_string(from.join(name)).unwrap()).concat()
    });
    std::fs::write(mixed.path().join("ca-cert.pem"), &both[0]).unwrap();
    let (client, server) = shake(&mixed, &ours, "localhost");
    assert_eq!(server.unwrap_err().code(), "TLS_UNKNOWN_CA");
    // With TLS 1.3 the handshake is over for the client: it hears of it right after.
    let failure = client.unwrap_err();
    assert_eq!(failure.code(), "TLS_REFUSED");
    assert!(failure.hint().contains("client-cert.pem"), "{}", failure.hint());
}

#[test]
fn a_certificate_for_another_host_is_refused_with_the_names_that_it_has() {
    let creds = Directory::new(&Terms {
        names: vec!["there.example".into(), "192.0.2.1".into()],
        ..Terms::default()
    });
    let failure = shake(&creds, &creds, "localhost").0.unwrap_err();
    assert_eq!(failure.code(), "TLS_WRONG_NAME");
    assert_eq!(
        failure.to_string(),
        "the server's certificate is not for 'localhost', but for there.example, 192.0.2.1"
    );
}

#[test]
fn a_certificate_that_names_no_host_says_how_to_make_one_that_does() {
    let creds = Directory::new(&Terms { names: Vec::new(), ..Terms::default() });
    let failure = shake(&creds, &creds, "localhost").0.unwrap_err();
    assert_eq!(failure.code(), "TLS_WRONG_NAME");
    assert!(failure.to_string().ends_with("it names no host"), "{failure}");
    assert!(failure.hint().contains("dns_name"), "{}", failure.hint());
}

#[test]
fn a_certificate_that_has_ended_meanwhile_is_refused_with_the_moment() {
    let creds = Directory::new(&Terms { until: 1, ..Terms::default() });
    let (client, server) = (creds.open(Side::Client), creds.open(Side::Server));
    std::thread::sleep(Duration::from_millis(2100));
    let failure = support::shake_with(&client, &server, "localhost").0.unwrap_err();
    assert_eq!(failure.code(), "TLS_EXPIRED");
    assert!(failure.to_string().contains("has expired (20"), "{failure}");
    assert!(failure.hint().contains("server-cert.pem -noout -dates"), "{}", failure.hint());
}

#[test]
fn a_client_without_a_certificate_is_refused_and_told_what_it_lacks() {
    let creds = Directory::new(&Terms::default());
    let bare = Directory::empty();
    std::fs::copy(creds.path().join("ca-cert.pem"), bare.path().join("ca-cert.pem")).unwrap();
    let (client, server) = shake(&bare, &creds, "localhost");
    assert_eq!(server.unwrap_err().code(), "TLS_NO_CERTIFICATE");
    let failure = client.unwrap_err();
    assert_eq!(failure.to_string(), "the peer refuses with the alert 'certificate_required'");
    assert!(failure.hint().starts_with("there is no client-cert.pem"), "{}", failure.hint());
}

#[test]
fn a_client_that_was_called_back_is_refused_and_a_server_is_not() {
    let terms = Terms::default();
    let creds = Directory::new(&terms);
    Authority::of(creds.path()).unwrap().revoke_clients(creds.path(), &terms).unwrap();
    let (client, server) = shake(&creds, &creds, "localhost");
    assert_eq!(client.unwrap_err().code(), "TLS_REFUSED");
    assert_eq!(server.unwrap_err().code(), "TLS_REVOKED");
}

#[test]
fn a_certificate_for_the_other_side_is_refused_with_the_word_that_it_lacks() {
    let creds = Directory::new(&Terms::default());
    let certificate = CertificateDer::from_pem_file(creds.path().join("server-cert.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(creds.path().join("server-key.pem")).unwrap();
    let shows_it =
        client_of(&creds, ring::default_provider()).with_client_auth_cert(vec![certificate], key).unwrap();
    let failure = why_refused(&creds, shows_it);
    assert_eq!(failure.code(), "TLS_BAD_CERTIFICATE");
    assert_eq!(failure.to_string(), "the client's certificate is not for a TLS client");
    assert!(failure.hint().contains("tls_www_client"), "{}", failure.hint());
}

#[test]
fn a_peer_without_a_cipher_that_we_know_is_told_so() {
    let creds = Directory::new(&Terms::default());
    // Our certificate has a key of another kind.
    let cipher_suites = vec![ring::cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256];
    let provider = CryptoProvider { cipher_suites, ..ring::default_provider() };
    let failure = why_refused(&creds, client_of(&creds, provider).with_no_client_auth());
    assert_eq!(failure.code(), "TLS_NOTHING_IN_COMMON");
    assert!(failure.hint().contains("priority="), "{}", failure.hint());
}

/// A client that is none of ours, but for the CA that it believes.
fn client_of(creds: &Directory, provider: CryptoProvider) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(creds.path().join("ca-cert.pem")).unwrap()).unwrap();
    ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
}

/// What our server says of such a client.
fn why_refused(creds: &Directory, client: ClientConfig) -> Failure {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let mut server = creds.channel(Side::Server, ours.into());
    let mut client = ClientConnection::new(Arc::new(client), "localhost".try_into().unwrap()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| client.complete_io(&mut theirs).unwrap_err());
        server.establish(Duration::from_secs(5)).unwrap_err()
    })
}

#[test]
fn a_peer_that_speaks_no_tls_is_named_on_either_side() {
    let creds = Directory::new(&Terms::default());
    for side in [Side::Client, Side::Server] {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(&[0, 0, 0, 60]).unwrap();
        let mut channel = creds.channel(side, ours.into());
        let failure = channel.establish(Duration::from_secs(1)).unwrap_err();
        assert_eq!((failure.code(), failure.side), ("TLS_PLAIN_PEER", side));
    }
}

#[test]
fn a_peer_that_says_nothing_is_given_up_and_one_that_leaves_is_told_so() {
    let creds = Directory::new(&Terms::default());
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut channel = creds.channel(Side::Client, ours.into());
    assert_eq!(channel.establish(Duration::from_millis(30)).unwrap_err().code(), "TLS_TIMEOUT");
    drop(theirs);
    assert_eq!(channel.establish(Duration::from_secs(1)).unwrap_err().code(), "TLS_CLOSED");
}

#[test]
fn a_peer_that_agrees_and_goes_at_once_is_none() {
    let creds = Directory::new(&Terms::default());
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (mut server, mut client) =
        (creds.channel(Side::Server, ours.into()), creds.channel(Side::Client, theirs.into()));
    // As QEMU does that does not like what it sees.
    std::thread::scope(|scope| {
        scope.spawn(move || client.establish(Duration::from_secs(5)).map(|()| drop(client)).unwrap());
        let failure = server.establish(Duration::from_secs(5)).unwrap_err();
        assert_eq!(failure.code(), "TLS_CLOSED");
        assert!(failure.hint().contains("server-cert.pem"), "{}", failure.hint());
    });
}

#[test]
fn what_the_kernel_does_not_take_is_kept_and_leaves_whole() {
    let creds = Directory::new(&Terms::default());
    let (mut client, mut server) = connected(&creds, &creds, "localhost");
    let message: Vec<u8> = (0..=250).cycle().take(4_000_000).collect();
    let sent = client.send(&[std::io::IoSlice::new(&message)]).unwrap();
    assert_eq!((sent.taken, sent.is_out), (message.len(), false));
    assert!(client.wants_to_write());
    let more = client.send(&[std::io::IoSlice::new(b"more")]).unwrap();
    assert_eq!((more.taken, more.is_out), (0, false), "nothing else before it");
    let mut read = Vec::new();
    while read.len() < message.len() {
        client.flush().unwrap();
        let mut piece = [0; 65_536];
        if let Received::Bytes(bytes) = server.receive(&mut piece).unwrap() {
            read.extend_from_slice(&piece[..bytes]);
        }
    }
    assert!(read == message, "whole and in order");
    assert!(client.flush().unwrap());
}

#[test]
fn bytes_that_were_tampered_with_end_the_connection() {
    let creds = Directory::new(&Terms::default());
    let (client, server) = UnixStream::pair().unwrap();
    let mut forger = client.try_clone().unwrap();
    let (client, server) =
        (creds.channel(Side::Client, client.into()), creds.channel(Side::Server, server.into()));
    let (client, server) = support::establish(client, server);
    let (_client, mut server) = (client.unwrap(), server.unwrap());
    forger.write_all(&[23, 3, 3, 0, 32]).unwrap();
    forger.write_all(&[7; 32]).unwrap();
    let Err(ChannelError::Tls(failure)) = server.receive(&mut [0; 100]) else { panic!("taken") };
    assert_eq!(failure.code(), "TLS_PROTOCOL");
}

#[test]
fn strangers_who_say_nothing_do_not_keep_a_peer_out() {
    let creds = Directory::new(&Terms::default());
    let server = creds.open(Side::Server);
    let mut handshakes = Handshakes::new().unwrap();
    let mut strangers = Vec::new();
    while handshakes.has_room() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        handshakes.begin(Channel::server(ours.into(), &server).unwrap()).unwrap();
        strangers.push(theirs);
    }
    assert!(handshakes.advance().is_none(), "nobody is thrown out at once");
    while !handshakes.has_room() {
        assert!(wakes(&handshakes, Duration::from_secs(3)), "but when all places are taken, soon");
        if let Some(over) = handshakes.advance() {
            assert_eq!(over.unwrap_err().code(), "TLS_TIMEOUT");
        }
    }
    let (ours, theirs) = UnixStream::pair().unwrap();
    handshakes.begin(Channel::server(ours.into(), &server).unwrap()).unwrap();
    let mut client = creds.channel(Side::Client, theirs.into());
    let client = std::thread::spawn(move || client.establish(Duration::from_secs(5)).map(|()| client));
    let _peer = loop {
        assert!(wakes(&handshakes, Duration::from_secs(5)));
        if let Some(peer) = handshakes.advance() {
            break peer.unwrap();
        }
    };
    client.join().unwrap().unwrap();
}

fn wakes(handshakes: &Handshakes, within: Duration) -> bool {
    let mut descriptors = [PollFd::new(handshakes, PollFlags::IN)];
    poll(&mut descriptors, Timespec::try_from(within).ok().as_ref()).unwrap() > 0
}
