//! A real guest: it boots, counts what the host sends into its TAP, and sends back.

// How long the boot took is shown when the test is run by hand.
#![allow(clippy::print_stderr)]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::Lab;
use tapferry_testbed::guest::{self, Image, ImageError};
use tapferry_testbed::namespace::Skip;

/// TCG on a busy machine takes a while; a guest that hangs takes for ever.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn a_guest_boots_counts_and_sends() {
    let Some(image) = image_or_skip() else { return };
    let Some(mut lab) = Lab::start_or_skip() else { return };
    lab.ask(&json!({"op": "tap", "name": "tapA", "held": false, "vnetHdr": 12}));
    let start = Instant::now();
    let mut guest = Guest::boot(&image, &lab, "tapA");
    let ready = guest.answer();
    eprintln!("the guest was ready after {} ms", start.elapsed().as_millis());
    assert_eq!((&ready["guest"], &ready["nics"]), (&json!("ready"), &json!(["eth0"])));
    assert_eq!(guest.ask("report")["nics"]["eth0"]["frames"], 0, "nothing but the test's frames is counted");

    lab.ask(&json!({"op": "send", "netdev": "tapA", "count": 1000, "rate": 5000}));
    let deadline = Instant::now() + PATIENCE;
    let report = loop {
        let report = guest.ask("report");
        if report["nics"]["eth0"]["frames"] == 1000 || Instant::now() > deadline {
            break report;
        }
    };
    let flow = &report["nics"]["eth0"]["flows"]["0"];
    assert_eq!(flow["ranges"], json!([[0, 999]]), "{report}");
    assert_eq!(
        (&flow["duplicates"], &flow["outOfOrder"], &flow["damaged"]),
        (&json!(0), &json!(0), &json!(0))
    );
    assert_eq!(guest.ask("clear")["guest"], "cleared");
    assert_eq!(guest.ask("report")["nics"]["eth0"]["frames"], 0);

    lab.ask(&json!({"op": "watch", "netdev": "tapA"}));
    assert_eq!(guest.ask("send 100 1514 7"), json!({"guest": "sent", "frames": 100}));
    let seen = lab.ask(&json!({"op": "received", "netdev": "tapA", "atLeast": 100}));
    assert_eq!(seen["flows"]["1"]["ranges"], json!([[7, 106]]), "{seen}");
    assert_eq!(seen["maxLength"], 1514);

    assert_eq!(guest.ask("dance")["guest"], "failed");
    guest.say("poweroff");
    assert!(guest.process.wait().expect("QEMU ends").success());
}

fn image_or_skip() -> Option<Image> {
    if Command::new("qemu-system-x86_64").arg("--version").stdout(Stdio::null()).status().is_err() {
        Skip("no qemu-system-x86_64".into()).announce();
        return None;
    }
    match guest::build(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("guest"), None) {
        Ok(image) => Some(image),
        Err(ImageError::NoKernel(reason)) => {
            Skip(reason.to_string()).announce();
            None
        }
        Err(ImageError::Failed(error)) => panic!("{error}"),
    }
}

struct Guest {
    process: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Guest {
    fn boot(image: &Image, lab: &Lab, tap: &str) -> Self {
        let mut process = Command::new("nsenter")
            .arg(format!("--net=/proc/{}/ns/net", lab.pid()))
            .args([
                "qemu-system-x86_64",
                "-accel",
                "tcg",
                "-M",
                "q35",
                "-m",
                "128",
                "-nodefaults",
                "-no-reboot",
            ])
            .args(["-display", "none", "-serial", "stdio"])
            .args(["-netdev", &format!("tap,id=hn0,ifname={tap},script=no,downscript=no")])
            .args(["-device", "virtio-net-pci,netdev=hn0", "-append", &image.cmdline, "-kernel"])
            .arg(&image.kernel)
            .arg("-initrd")
            .arg(&image.initrd)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("nsenter is part of util-linux");
        let input = process.stdin.take().expect("stdin is a pipe");
        let output = BufReader::new(process.stdout.take().expect("stdout is a pipe"));
        let (sender, lines) = channel();
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { process, input, lines }
    }

    fn say(&mut self, command: &str) {
        writeln!(self.input, "{command}").expect("the guest listens");
    }

    fn ask(&mut self, command: &str) -> Value {
        self.say(command);
        self.answer()
    }

    /// The next line of the guest; with -nodefaults neither firmware nor kernel writes any.
    fn answer(&mut self) -> Value {
        let line = self.lines.recv_timeout(PATIENCE).expect("the guest answers in time");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: '{line}'"))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // It has ended already, unless the test failed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
