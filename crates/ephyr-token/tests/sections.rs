//! The broker section consists of complete segments: anything else is refused, even under the right key.

#[cfg(test)]
mod support;

use ephyr_token::TokenError;
use support::forge::{Forge, ROOT};
use support::{KEY, OPEN_ROOT, verify};

const CHILD: &str = "task = 01KAT000000000000000000CH1";
const GRANDCHILD: &str = "task = 01KAT000000000000000000CH2";
const AGENT: &str = "agent = builder";

/// Verifies a token with these caveats and returns its number of segments.
fn read(before: &[&str], after: &[&str]) -> Result<usize, TokenError> {
    let caveats = [before, after].concat();
    let token = verify(&Forge::new(KEY, caveats.len(), &caveats).text())?;
    Ok(token.segments().len())
}

#[test]
fn segment_begins_with_task_and_agent() {
    assert_eq!(read(&OPEN_ROOT, &[]), Ok(1));
    assert_eq!(read(&OPEN_ROOT, &[CHILD, AGENT]), Ok(2));
    assert_eq!(read(&OPEN_ROOT, &[CHILD, AGENT, "target IN [web]"]), Ok(2));
    for (after, at) in [
        (&[CHILD][..], 14),
        (&[CHILD, "can_delegate = false"], 14),
        (&[CHILD, GRANDCHILD, AGENT], 14),
        (&[CHILD, "initiated_by = uid:1500", AGENT], 14),
        (&[AGENT], 13),
        (&[CHILD, AGENT, AGENT], 15),
    ] {
        let refused = read(&OPEN_ROOT, after);
        let misplaced =
            |error| matches!(error, TokenError::MisplacedCaveat { index, .. } if index == at);
        assert!(refused.is_err_and(misplaced), "{after:?}: {refused:?}");
    }
    for before in ["can_delegate = false", AGENT] {
        let refused = read(&[before], &OPEN_ROOT);
        let misplaced = |error| matches!(error, TokenError::MisplacedCaveat { index: 0, .. });
        assert!(refused.is_err_and(misplaced), "{before}: {refused:?}");
    }
}

#[test]
fn lineage_begins_with_the_root_and_repeats_no_task() {
    let own_root = format!("task = {ROOT}");
    let of_another = [&[CHILD], &OPEN_ROOT[1..]].concat();
    assert_eq!(read(&of_another, &[]), Err(TokenError::RootMismatch));
    for after in [
        &[own_root.as_str(), AGENT][..],
        &[CHILD, AGENT, own_root.as_str(), AGENT],
        &[CHILD, AGENT, CHILD, AGENT],
    ] {
        let refused = read(&OPEN_ROOT, after);
        let index = 13 + after.len() - 2;
        assert_eq!(refused, Err(TokenError::RepeatedTask { index }));
    }
    assert_eq!(read(&OPEN_ROOT, &[CHILD, AGENT, GRANDCHILD, AGENT]), Ok(3));
}
