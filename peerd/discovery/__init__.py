"""Where other devices may be: mDNS, static addresses, and what tells that the network or the machine changed."""
