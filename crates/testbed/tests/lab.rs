//! The lab as a test in another language sees it: JSON lines.

mod support;

use std::process::Command;

use serde_json::{Value, json};
use support::Lab;

#[test]
fn frames_are_sent_to_a_simulated_guest_and_counted() {
    let Some(mut lab) = Lab::start_or_skip() else { return };
    let tap = lab.ask(&json!({"op": "tap", "name": "tapA", "vnetHdr": 12, "offloads": "tcp"}));
    assert_eq!(tap["mac"].as_str().map(str::len), Some(17));
    let sent =
        lab.ask(&json!({"op": "send", "netdev": "tapA", "count": 1000, "rate": 20000, "stamps": true}));
    assert_eq!((&sent["frames"], &sent["refused"], &sent["errno"]), (&json!(1000), &json!(0), &Value::Null));
    let time = |value: &Value| value.as_str().and_then(|text| text.parse::<u64>().ok()).expect("a time");
    assert!(time(&sent["lastNs"]) - time(&sent["firstNs"]) >= 49_000_000);
    assert!(time(&sent["stamps"][999][1]) <= time(&sent["stamps"][999][2]));
    let query = json!({"op": "received", "netdev": "tapA", "atLeast": 1000, "clear": true});
    let seen = lab.ask(&query);
    assert_eq!(seen["flows"]["0"]["ranges"], json!([[0, 999]]));
    assert_eq!(seen["frames"], 1000);
    let seen = lab.ask(&json!({"op": "received", "netdev": "tapA"}));
    assert_eq!(seen["frames"], 0, "it was cleared");
    assert_eq!(lab.ask(&json!({"op": "counters", "netdev": "tapA"}))["txPackets"], 1000);
}

#[test]
fn every_kind_of_traffic_arrives_intact() {
    let Some(mut lab) = Lab::start_or_skip() else { return };
    lab.ask(&json!({"op": "tap", "name": "tapA", "vnetHdr": 10}));
    for ip in [4, 6] {
        for (kind, checksum) in [("udp", "complete"), ("udp", "partial"), ("udp-gso", "complete")] {
            let mut send = json!({"op": "send", "netdev": "tapA", "kind": kind, "checksum": checksum});
            send["ip"] = ip.into();
            send["count"] = 3.into();
            send["size"] = 200.into();
            send["tag"] = 0x2064.into();
            lab.ask(&send);
            let numbers = if kind == "udp" { 3 } else { 30 };
            let seen =
                lab.ask(&json!({"op": "received", "netdev": "tapA", "atLeast": numbers, "clear": true}));
            assert_eq!(seen["flows"]["0"]["ranges"], json!([[0, numbers - 1]]), "{kind} {seen}");
            assert_eq!((&seen["badChecksum"], &seen["tooLong"]), (&json!(0), &json!(0)), "{kind} {seen}");
            assert_eq!((&seen["tagged"], &seen["lastTag"]), (&json!(numbers), &json!(0x2064)));
        }
        lab.ask(&json!({"op": "send", "netdev": "tapA", "kind": "tcp-gso", "ip": ip, "count": 2}));
        let seen = lab.ask(&json!({"op": "received", "netdev": "tapA", "settleMs": 100, "clear": true}));
        assert_eq!(
            (&seen["stream"]["bytes"], &seen["stream"]["jumps"]),
            (&json!(120_000), &json!(0)),
            "{seen}"
        );
        assert_eq!((&seen["badChecksum"], &seen["gso"]), (&json!(0), &json!(0)), "{seen}");
    }
    lab.ask(&json!({"op": "send", "netdev": "tapA", "kind": "udp", "checksum": "wrong"}));
    let seen = lab.ask(&json!({"op": "received", "netdev": "tapA", "atLeast": 1}));
    assert_eq!(seen["badChecksum"], 1);
}

#[test]
fn the_simulated_guest_sends_and_stops_reading() {
    let Some(mut lab) = Lab::start_or_skip() else { return };
    lab.ask(&json!({"op": "tap", "name": "tapA", "txqueuelen": 50}));
    lab.ask(&json!({"op": "bridge", "name": "br0", "ports": ["tapA"]}));
    lab.ask(&json!({"op": "watch", "netdev": "br0", "direction": "both"}));
    let sent = lab.ask(&json!({"op": "write", "tap": "tapA", "count": 20, "flow": 1}));
    assert_eq!(sent["frames"], 20);
    let seen = lab.ask(&json!({"op": "received", "netdev": "br0", "atLeast": 20}));
    assert_eq!(seen["flows"]["1"]["ranges"], json!([[0, 19]]));

    lab.ask(&json!({"op": "reading", "tap": "tapA", "on": false}));
    lab.ask(&json!({"op": "send", "netdev": "tapA", "count": 60}));
    assert_eq!(lab.ask(&json!({"op": "received", "tap": "tapA", "settleMs": 50}))["frames"], 0);
    assert_eq!(lab.ask(&json!({"op": "counters", "netdev": "tapA"}))["txDropped"], 10);
    lab.ask(&json!({"op": "reading", "tap": "tapA", "on": true}));
    let seen = lab.ask(&json!({"op": "received", "tap": "tapA", "atLeast": 50}));
    assert_eq!(seen["flows"]["0"]["ranges"], json!([[0, 49]]));
}

#[test]
fn a_sending_in_the_background_goes_on_until_it_is_stopped() {
    let Some(mut lab) = Lab::start_or_skip() else { return };
    lab.ask(&json!({"op": "tap", "name": "tapA"}));
    lab.ask(&json!({"op": "send-start", "name": "host", "netdev": "tapA", "rate": 2000}));
    lab.ask(&json!({"op": "received", "netdev": "tapA", "atLeast": 100}));
    let sent = lab.ask(&json!({"op": "send-stop", "name": "host"}));
    let frames = sent["frames"].as_u64().expect("a count");
    let seen = lab.ask(&json!({"op": "received", "netdev": "tapA", "atLeast": frames}));
    assert_eq!(seen["flows"]["0"]["ranges"], json!([[0, frames - 1]]));
    assert_eq!(lab.try_ask(&json!({"op": "send-stop", "name": "host"}))["ok"], false);
}

#[test]
fn a_topology_is_built_and_torn_down() {
    let Some(mut lab) = Lab::start_or_skip() else { return };
    lab.ask(&json!({"op": "veth", "name": "vethA", "peer": "vethB"}));
    lab.ask(&json!({"op": "tap", "name": "tapA", "vnetHdr": 12, "offloads": "all"}));
    lab.ask(&json!({"op": "bridge", "name": "br0", "ports": ["vethB", "tapA"]}));
    lab.ask(&json!({"op": "send", "netdev": "vethA", "count": 5, "tag": 100}));
    let seen = lab.ask(&json!({"op": "received", "netdev": "tapA", "atLeast": 5}));
    assert_eq!((&seen["tagged"], &seen["lastTag"]), (&json!(5), &json!(100)), "{seen}");
    lab.ask(&json!({"op": "link", "name": "tapA", "up": false, "mtu": 1000}));
    let refused = lab.ask(&json!({"op": "send", "netdev": "tapA"}));
    assert_eq!((&refused["refused"], &refused["errno"]), (&json!(1), &json!(libc::ENETDOWN)));
    lab.ask(&json!({"op": "tap-delete", "name": "tapA"}));
    let gone = lab.try_ask(&json!({"op": "send", "netdev": "tapA"}));
    assert_eq!(gone["error"], "SIOCGIFINDEX failed on tapA: No such device (os error 19)");
    let output = lab.ask(&json!({"op": "run", "command": ["ip", "-br", "link"]}));
    let text = output["stdout"].as_str().expect("text");
    assert!(text.contains("vethA") && !text.contains("tapA"), "{text}");
}

#[test]
fn a_bridge_that_has_learned_an_address_sends_its_frames_nowhere_else() {
    let Some(mut lab) = Lab::start_or_skip() else { return };
    lab.ask(&json!({"op": "tap", "name": "tapA"}));
    lab.ask(&json!({"op": "tap", "name": "tapB"}));
    lab.ask(&json!({"op": "bridge", "name": "br0", "ports": ["tapA", "tapB"]}));
    // What comes in at tapA is from the sender's address, which is what a bridge learns.
    lab.ask(&json!({"op": "write", "netdev": "tapA"}));
    lab.ask(&json!({"op": "received", "netdev": "tapB", "atLeast": 1, "clear": true}));
    let sender = "02:54:46:00:00:01";
    lab.ask(&json!({"op": "send", "netdev": "br0", "destination": sender, "count": 3}));
    let seen = lab.ask(&json!({"op": "received", "netdev": "tapA", "atLeast": 3, "clear": true}));
    assert_eq!(seen["flows"]["0"]["count"], 3);
    assert_eq!(lab.ask(&json!({"op": "received", "netdev": "tapB", "settleMs": 50}))["frames"], 0);
}

#[test]
fn others_join_the_namespace_and_only_their_packet_sockets_are_counted() {
    let Some(mut lab) = Lab::start_or_skip() else { return };
    lab.ask(&json!({"op": "tap", "name": "tapA", "held": false, "vnetHdr": 12}));
    lab.ask(&json!({"op": "watch", "netdev": "tapA"}));
    assert_eq!(lab.ask(&json!({"op": "packet-sockets"}))["count"], 0);
    let mut other = Command::new("nsenter")
        .arg(format!("--net=/proc/{}/ns/net", lab.pid()))
        .args([env!("CARGO_BIN_EXE_testbed"), "--help"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("nsenter is part of util-linux");
    assert!(other.wait().expect("it ends").success());
    let namespace = std::fs::File::open(format!("/proc/{}/ns/net", lab.pid())).expect("the lab runs");
    let sender = std::thread::spawn(move || {
        let kind = Some(rustix::thread::LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), kind)
            .expect("the lab's namespace can be entered");
        tapferry_testbed::sender::Sender::open("tapA").expect("a sender")
    });
    let sender = sender.join().expect("it is made");
    assert_eq!(lab.ask(&json!({"op": "packet-sockets"}))["count"], 1);
    drop(sender);
    assert_eq!(lab.ask(&json!({"op": "packet-sockets"}))["count"], 0);
}

#[test]
fn what_cannot_be_is_answered_not_survived() {
    let Some(mut lab) = Lab::start_or_skip() else { return };
    lab.ask(&json!({"op": "tap", "name": "tapA"}));
    for request in [
        json!({"op": "send", "netdev": "tapA", "size": 20}),
        json!({"op": "send", "netdev": "tapA", "size": 1_000_000}),
        json!({"op": "send", "netdev": "tapA", "kind": "udp-gso", "gsoSize": 9}),
        json!({"op": "send", "netdev": "tapA", "kind": "tcp-gso", "size": 70_000}),
        json!({"op": "send", "netdev": "tapA", "kind": "raw", "hex": "0"}),
        json!({"op": "send", "netdev": "tapA", "ip": 5}),
        json!({"op": "send", "netdev": "tapA", "destination": "02:54:46:00:00"}),
        json!({"op": "write", "netdev": "tapA", "mark": 1}),
        json!({"op": "transfer", "to": "127.0.0.1", "milliseconds": 1}),
        json!({"op": "tap"}),
        json!({"op": "tap", "name": "a name that is much too long"}),
        json!({"op": "received", "netdev": "tapB"}),
        json!({"op": "run", "command": []}),
    ] {
        let reply = lab.try_ask(&request);
        assert_eq!(reply["ok"], false, "{request}");
        assert!(reply["error"].as_str().is_some_and(|error| !error.is_empty()), "{request} -> {reply}");
    }
}
