//! The broker's SSH client: a new key and certificate per connection, pinned host keys, bounded output.
