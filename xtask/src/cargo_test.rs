//! Runs `cargo test`, and counts what it says.

use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::summary::Summary;

/// Runs this `cargo test`, shows what it prints and adds its results to the summary.
pub(crate) fn cargo_test(mut command: Command, summary: &mut Summary) -> Result<()> {
    let begun = Instant::now();
    let failed_before = summary.failed;
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo test")?;
    if let Some(output) = child.stdout.take() {
        follow(output, io::stdout(), |line| summary.add_line(line))
            .context("cannot pass on what the tests print")?;
    }
    let status = child.wait().context("cannot wait for cargo test")?;
    println!("\ntests took {:.0} s", begun.elapsed().as_secs_f64());
    if !status.success() && summary.failed == failed_before {
        // A build that failed or a test binary that died says no count of its own, and the
        // closing line must not look like success.
        println!("cargo test ended with {status} but no test says that it failed: counted as one");
        summary.failed += 1;
    }
    Ok(())
}

/// Copies `from` to `to` as it comes, half lines too, and shows each whole line to `see`.
fn follow(mut from: impl Read, mut to: impl Write, mut see: impl FnMut(&str)) -> io::Result<()> {
    let mut chunk = [0; 8192];
    let mut line = Vec::new();
    loop {
        let read = match from.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let bytes = chunk.get(..read).unwrap_or_default();
        to.write_all(bytes)?;
        to.flush()?;
        for &byte in bytes {
            if byte == b'\n' {
                see(String::from_utf8_lossy(&line).trim_end());
                line.clear();
            } else {
                line.push(byte);
            }
        }
    }
    see(String::from_utf8_lossy(&line).trim_end());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time, as a slow test does.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let (Some((first, rest)), Some(place)) = (self.0.split_first(), buffer.first_mut())
            else {
                return Ok(0);
            };
            *place = *first;
            self.0 = rest;
            Ok(1)
        }
    }

    #[test]
    fn copies_every_byte_and_shows_whole_lines() -> io::Result<()> {
        let text = b"one\r\ntwo \xff\n\nlast";
        let (mut copy, mut lines) = (Vec::new(), Vec::new());
        follow(Slow(text), &mut copy, |line| lines.push(line.to_owned()))?;
        assert_eq!(copy, text);
        assert_eq!(lines, ["one", "two \u{fffd}", "", "last"]);
        Ok(())
    }
}
