"""A relay in a CloudKit container of one's own: Web Services, a server-to-server key, the public database.

    opening    puts the parts together                          (the one function that is called from outside)
    store      the four operations, and what makes them safe to repeat
    probe      what `peerctl relay check` tries
    client     one signed request: clock, gate, bounds          (aiohttp)
    assets     the second host, for objects that are large
    gate       not before: kept over restarts
    requests   bodies, within limits                            (pure)
    answers    what comes back, whatever it is                  (pure)
    refusals   every code of the service and what follows       (pure)
    signing    what is signed; keyfile: with what

docs/cloudkit.md leads a person through Apple's side.
"""
