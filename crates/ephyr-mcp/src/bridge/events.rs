//! A decoder for server-sent events (WHATWG HTML, 9.2) that returns the data of each event.

/// Maximum length of one event, in bytes.
pub(crate) const MAX_EVENT: usize = 16 * 1024 * 1024;

/// Splits a stream into events.
#[derive(Debug, Default)]
pub(crate) struct EventDecoder {
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    after_return: bool,
}

/// An event is longer than [`MAX_EVENT`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct EventTooLong;

impl EventDecoder {
    /// Decodes a chunk of the stream and returns the data of each event that it completes.
    pub(crate) fn feed(&mut self, piece: &[u8]) -> Result<Vec<Vec<u8>>, EventTooLong> {
        let mut events = Vec::new();
        for &byte in piece {
            let after_return = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => events.extend(self.end_line()),
                byte if self.line.len() + self.data.len() < MAX_EVENT => self.line.push(byte),
                _ => return Err(EventTooLong),
            }
        }
        Ok(events)
    }

    fn end_line(&mut self) -> Option<Vec<u8>> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            let has_data = std::mem::take(&mut self.has_data);
            let data = std::mem::take(&mut self.data);
            return has_data.then_some(data);
        }
        // Comments and the fields `event`, `id` and `retry` are ignored.
        if let Some(value) = line.strip_prefix(b"data") {
            let value = match value {
                [] => value,
                [b':', b' ', value @ ..] | [b':', value @ ..] => value,
                _ => return None,
            };
            if std::mem::replace(&mut self.has_data, true) {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(value);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(stream: &[u8]) -> Vec<String> {
        let events = EventDecoder::default().feed(stream).unwrap();
        events
            .into_iter()
            .map(|data| String::from_utf8(data).unwrap())
            .collect()
    }

    #[test]
    fn data_lines_are_joined_and_other_fields_ignored() {
        let stream = b": hello\n\nevent: message\nid: 7\ndata: {\"a\":\ndata:1}\n\ndatabase: x\n\ndata\n\ndata: cut";
        assert_eq!(whole(stream), ["{\"a\":\n1}", ""]);
        assert_eq!(
            whole(b"data: a\r\n\r\ndata: b\r\rdata: c\n\n"),
            ["a", "b", "c"]
        );
    }

    #[test]
    fn event_over_the_limit_is_rejected() {
        let mut events = EventDecoder::default();
        let piece = vec![b'x'; MAX_EVENT];
        assert_eq!(events.feed(&piece), Ok(Vec::new()));
        assert_eq!(events.feed(b"x"), Err(EventTooLong));
    }

    proptest! {
        #[test]
        fn chunk_boundaries_do_not_change_the_events(
            texts in proptest::collection::vec("[a-z{}:, ]{0,12}", 1..6),
            cut in 1_usize..9,
        ) {
            let stream: String = texts.iter().map(|text| format!("data: {text}\r\n\r\n")).collect();
            let mut events = EventDecoder::default();
            let pieces = stream.as_bytes().chunks(cut);
            let found: Vec<_> = pieces.flat_map(|piece| events.feed(piece).unwrap()).collect();
            let texts: Vec<_> = texts.into_iter().map(String::into_bytes).collect();
            prop_assert_eq!(found, texts);
        }
    }
}
