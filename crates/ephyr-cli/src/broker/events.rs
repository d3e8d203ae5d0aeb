//! Reads a reply of server-sent events as it arrives: passes progress on and keeps the answer.

use serde::Deserialize;

use crate::failure::Failure;

/// Called with each progress message.
pub(super) type OnProgress<'a> = &'a mut dyn FnMut(&str) -> Result<(), Failure>;

/// Reads the events of one reply.
pub(super) struct Events<'a> {
    on_progress: OnProgress<'a>,
    /// The beginning of an incomplete line.
    line: Vec<u8>,
    answer: Option<Vec<u8>>,
}

/// A message: a notification if it has a method, otherwise the answer.
#[derive(Deserialize)]
struct Message {
    method: Option<String>,
    #[serde(default)]
    params: Params,
}

#[derive(Default, Deserialize)]
struct Params {
    /// The text of a progress notification.
    #[serde(default)]
    message: String,
}

impl<'a> Events<'a> {
    pub(super) fn new(on_progress: OnProgress<'a>) -> Self {
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
    pub(super) fn take(&mut self, piece: &[u8]) -> Result<(), Failure> {
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

    /// Returns the answer, the last event, as JSON.
    ///
    /// # Errors
    /// There is no answer.
    pub(super) fn answer(mut self) -> Result<Vec<u8>, Failure> {
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
        let message: Message = serde_json::from_slice(data).map_err(Failure::protocol)?;
        match message.method.as_deref() {
            Some("notifications/progress") => (self.on_progress)(&message.params.message),
            Some(_) => Ok(()),
            None => {
                self.answer = Some(data.to_vec());
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

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
            let answer: Value = serde_json::from_slice(&events.answer().unwrap()).unwrap();
            assert_eq!(answer["id"], 1);
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
