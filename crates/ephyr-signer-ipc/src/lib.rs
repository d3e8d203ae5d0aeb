//! Pure: the closed set of requests and replies between broker and signer, and their framing.
