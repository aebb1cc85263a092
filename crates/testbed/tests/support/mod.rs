//! A lab process and the conversation with it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

/// A running lab. Dropping it ends it.
pub(crate) struct Lab {
    child: Child,
    requests: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
    next: u64,
}

impl Lab {
    /// Starts a lab, or says why the test is skipped.
    pub(crate) fn start_or_skip() -> Option<Self> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_testbed"))
            .arg("lab")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the testbed was built for this test");
        let requests = child.stdin.take();
        let mut replies = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        let hello = line(&mut replies);
        if let Some(reason) = hello["skipped"].as_str() {
            tapferry_testbed::namespace::Skip(reason.to_owned()).announce();
            child.wait().expect("a lab that is refused ends");
            return None;
        }
        assert_eq!(hello, json!({"ready": true, "pid": child.id()}));
        Some(Self { child, requests, replies, next: 1 })
    }

    /// The lab's process, whose namespace others join.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A request that must succeed.
    pub(crate) fn ask(&mut self, request: &Value) -> Value {
        let reply = self.try_ask(request);
        assert_eq!(reply["ok"], true, "{request} -> {reply}");
        reply
    }

    /// A request and its reply.
    pub(crate) fn try_ask(&mut self, request: &Value) -> Value {
        let mut request = request.clone();
        let id = self.next;
        self.next += 1;
        request["id"] = id.into();
        let pipe = self.requests.as_mut().expect("the lab runs");
        writeln!(pipe, "{request}").expect("the lab reads");
        let reply = line(&mut self.replies);
        assert_eq!(reply["id"], id, "{reply}");
        reply
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        drop(self.requests.take());
        let status = self.child.wait().expect("the lab ends with its input");
        if !std::thread::panicking() {
            assert!(status.success(), "{status}");
        }
    }
}

fn line(replies: &mut impl BufRead) -> Value {
    let mut line = String::new();
    replies.read_line(&mut line).expect("the lab answers");
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: '{line}'"))
}
