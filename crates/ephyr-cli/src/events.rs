//! Reads a reply of server-sent events as it arrives: passes progress on and keeps the answer.

use serde_json::Value;

use crate::failure::Failure;

/// Called with each progress message.
pub(crate) type OnProgress<'a> = &'a mut dyn FnMut(&str) -> Result<(), Failure>;

/// Reads the events of one reply.
pub(crate) struct Events<'a> {
    on_progress: OnProgress<'a>,
    /// The beginning of an incomplete line.
    line: Vec<u8>,
    answer: Option<Value>,
}

impl<'a> Events<'a> {
    pub(crate) fn new(on_progress: OnProgress<'a>) -> Self {
        Self {
            on_progress,
            line: Vec::new(),
            answer: None,
        }
    }

    /// Processes a piece of the body.
    ///
    /// # Errors
    /// An event is not JSON, or the listener failed.
    pub(crate) fn take(&mut self, piece: &[u8]) -> Result<(), Failure> {
        let mut lines = piece.split(|byte| *byte == b'\n');
        let rest = lines.next_back().unwrap_or_default();
        for end in lines {
            self.line.extend_from_slice(end);
            let line = std::mem::take(&mut self.line);
            self.event(&line)?;
        }
        self.line.extend_from_slice(rest);
        Ok(())
    }

    /// Returns the answer, the last event.
    ///
    /// # Errors
    /// There is no answer.
    pub(crate) fn answer(mut self) -> Result<Value, Failure> {
        let line = std::mem::take(&mut self.line);
        self.event(&line)?;
        self.answer
            .ok_or_else(|| Failure::protocol("its event stream ended without an answer"))
    }

    /// Each message is one line of data.
    fn event(&mut self, line: &[u8]) -> Result<(), Failure> {
        let Some(data) = line.strip_prefix(b"data:") else {
            return Ok(());
        };
        let message: Value = serde_json::from_slice(data).map_err(Failure::protocol)?;
        if message["method"] == "notifications/progress" {
            let text = message["params"]["message"].as_str().unwrap_or_default();
            return (self.on_progress)(text);
        }
        if message.get("method").is_none() {
            self.answer = Some(message);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLY: &[u8] = b":\n\nevent: message\ndata: {\"method\":\"notifications/progress\",\"params\":{\"message\":\"a\"}}\n\n\
        data: {\"method\":\"notifications/progress\",\"params\":{\"message\":\"b\"}}\n\nevent: message\ndata: {\"id\":1}\n\n";

    #[test]
    fn progress_and_the_answer_are_read_wherever_the_body_is_cut() {
        for at in 0..=REPLY.len() {
            let mut seen = Vec::new();
            let mut on_progress = |text: &str| {
                seen.push(text.to_owned());
                Ok(())
            };
            let mut events = Events::new(&mut on_progress);
            events.take(&REPLY[..at]).unwrap();
            events.take(&REPLY[at..]).unwrap();
            assert_eq!(events.answer().unwrap()["id"], 1);
            assert_eq!(seen, ["a", "b"], "{at}");
        }
    }

    #[test]
    fn a_reply_without_an_answer_is_none() {
        let mut on_progress = |_: &str| Ok(());
        let mut events = Events::new(&mut on_progress);
        events.take(b"event: message\n:\n").unwrap();
        assert!(events.answer().is_err());
    }
}
