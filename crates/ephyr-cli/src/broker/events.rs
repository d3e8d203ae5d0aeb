//! Reads a response of server-sent events as it arrives: passes on progress messages and keeps the result.

use serde::Deserialize;

use crate::failure::Failure;

/// Called with each progress message.
pub(super) type OnProgress<'a> = &'a mut dyn FnMut(&str) -> Result<(), Failure>;

/// Reads the events of one response.
pub(super) struct Events<'a> {
    on_progress: OnProgress<'a>,
    /// The beginning of an incomplete line.
    line: Vec<u8>,
    result: Option<Vec<u8>>,
}

/// A message: a notification if it has a method, otherwise the result.
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
            result: None,
        }
    }

    /// Processes a piece of the body.
    ///
    /// # Errors
    /// An event is not JSON, or `on_progress` failed.
    pub(super) fn take(&mut self, piece: &[u8]) -> Result<(), Failure> {
        let mut lines = piece.split(|byte| *byte == b'\n');
        let rest = lines.next_back().unwrap_or_default();
        for part in lines {
            self.line.extend_from_slice(part);
            let line = std::mem::take(&mut self.line);
            self.event(&line)?;
        }
        self.line.extend_from_slice(rest);
        Ok(())
    }

    /// Returns the result, the last event, as JSON.
    ///
    /// # Errors
    /// The stream ended without a result.
    pub(super) fn result(mut self) -> Result<Vec<u8>, Failure> {
        let line = std::mem::take(&mut self.line);
        self.event(&line)?;
        self.result
            .ok_or_else(|| Failure::protocol("its event stream ended without a result"))
    }

    /// Processes a line. The broker writes each message as one `data:` line.
    fn event(&mut self, line: &[u8]) -> Result<(), Failure> {
        let Some(data) = line.strip_prefix(b"data:") else {
            return Ok(());
        };
        let message: Message = serde_json::from_slice(data).map_err(Failure::protocol)?;
        match message.method.as_deref() {
            Some("notifications/progress") => (self.on_progress)(&message.params.message),
            Some(_) => Ok(()),
            None => {
                self.result = Some(data.to_vec());
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const RESPONSE: &[u8] = b":\n\nevent: message\ndata: {\"method\":\"notifications/progress\",\"params\":{\"message\":\"a\"}}\n\n\
        data: {\"method\":\"notifications/progress\",\"params\":{\"message\":\"b\"}}\n\nevent: message\ndata: {\"id\":1}\n\n";

    #[test]
    fn events_are_read_wherever_the_body_is_split() {
        for at in 0..=RESPONSE.len() {
            let mut seen = Vec::new();
            let mut on_progress = |text: &str| {
                seen.push(text.to_owned());
                Ok(())
            };
            let mut events = Events::new(&mut on_progress);
            events.take(&RESPONSE[..at]).unwrap();
            events.take(&RESPONSE[at..]).unwrap();
            let result: Value = serde_json::from_slice(&events.result().unwrap()).unwrap();
            assert_eq!(result["id"], 1);
            assert_eq!(seen, ["a", "b"], "{at}");
        }
    }

    #[test]
    fn stream_without_a_result_is_an_error() {
        let mut on_progress = |_: &str| Ok(());
        let mut events = Events::new(&mut on_progress);
        events.take(b"event: message\n:\n").unwrap();
        assert!(events.result().is_err());
    }
}
