"""peerctl: asks the daemon and prints what it says. One module per family of commands."""
