//! Concurrent uses of one proof.

use std::sync::Arc;

use ephyr_models::state::State;
use ephyr_names::Digest;
use shuttle::thread;

use crate::world::{NOW, agent, check, dir, later};

#[test]
fn concurrent_uses_of_a_proof_are_accepted_once() {
    check(|| {
        let dir = dir();
        let state = Arc::new(State::open(dir.path(), NOW).unwrap().0);
        let uses: Vec<_> = (0..3)
            .map(|_| {
                let state = Arc::clone(&state);
                thread::spawn(move || {
                    let key = (Digest([1; 32]), [1; 16]);
                    let nonces = state.nonces();
                    nonces.accept(&agent("a"), key, NOW, later(30), NOW).is_ok()
                })
            })
            .collect();
        let accepted = uses.into_iter().map(|used| used.join().unwrap());
        assert_eq!(accepted.filter(|accepted| *accepted).count(), 1);
    });
}
