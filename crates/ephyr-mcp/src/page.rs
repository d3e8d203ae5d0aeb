//! Paginated lists: each page is serialised once, and opaque cursors link them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde::Serialize;

/// Entries on one page of a list.
pub const PAGE_SIZE: usize = 100;

/// The pages of one list, each a JSON array.
#[derive(Debug, Clone)]
pub(crate) struct Pages(Vec<Bytes>);

/// A page and the cursor of the next.
pub(crate) struct Page<'a> {
    pub(crate) entries: &'a Bytes,
    pub(crate) next: Option<String>,
}

impl Pages {
    pub(crate) fn new<T: Serialize>(entries: &[T]) -> serde_json::Result<Self> {
        let pages = entries.chunks(PAGE_SIZE).map(serde_json::to_vec);
        let mut pages = pages
            .map(|page| page.map(Bytes::from))
            .collect::<Result<Vec<_>, _>>()?;
        if pages.is_empty() {
            pages.push(Bytes::from_static(b"[]"));
        }
        Ok(Self(pages))
    }

    /// Returns the page at a cursor, or the first without one; `None` if the cursor is not valid for this
    /// list.
    pub(crate) fn at(&self, cursor: Option<&str>) -> Option<Page<'_>> {
        let at = match cursor {
            None => 0,
            Some(cursor) => decode(cursor)?,
        };
        let entries = self.0.get(at)?;
        let next = (at + 1 < self.0.len()).then(|| encode(at + 1));
        Some(Page { entries, next })
    }
}

fn encode(page: usize) -> String {
    URL_SAFE_NO_PAD.encode(format!("page:{page}"))
}

fn decode(cursor: &str) -> Option<usize> {
    const LONGEST: usize = 40;
    if cursor.len() > LONGEST {
        return None;
    }
    let text = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let page = std::str::from_utf8(&text).ok()?.strip_prefix("page:")?;
    let page: usize = page.parse().ok()?;
    // The first page has no cursor, so 0 is never a valid one.
    (page > 0 && encode(page) == cursor).then_some(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_lead_through_every_entry_once() {
        let entries: Vec<usize> = (0..PAGE_SIZE * 2 + 1).collect();
        let pages = Pages::new(&entries).unwrap();
        let mut seen: Vec<usize> = Vec::new();
        let mut cursor = None;
        loop {
            let page = pages.at(cursor.as_deref()).unwrap();
            seen.extend(serde_json::from_slice::<Vec<usize>>(page.entries).unwrap());
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, entries);
    }

    #[test]
    fn invented_cursor_is_rejected() {
        let pages = Pages::new(&(0..PAGE_SIZE + 1).collect::<Vec<_>>()).unwrap();
        assert!(pages.at(Some(&encode(1))).is_some());
        for bad in ["", "x", "!!", &encode(0), &encode(2), &"A".repeat(10_000)] {
            assert!(pages.at(Some(bad)).is_none(), "{bad}");
        }
    }

    #[test]
    fn an_empty_list_has_one_empty_page() {
        let pages = Pages::new::<u8>(&[]).unwrap();
        let page = pages.at(None).unwrap();
        assert_eq!(&page.entries[..], b"[]");
        assert_eq!(page.next, None);
    }
}
