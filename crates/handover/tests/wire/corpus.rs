//! What the fuzzer found worth keeping holds in every test run, too.

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use crate::check::input;

#[test]
fn the_decoder_agrees_with_the_model_on_the_corpus_of_the_fuzzer() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/wire");
    let mut files = 0;
    for file in fs::read_dir(&corpus).unwrap() {
        let file = file.unwrap().path();
        let bytes = fs::read(&file).unwrap();
        assert!(catch_unwind(|| input::check(&bytes)).is_ok(), "it does not on {}", file.display());
        files += 1;
    }
    assert!(files >= 20, "only {files} files in {}", corpus.display());
}
