"""The ``tezos-p2p`` command; needs the extra ``node``."""
