"""The store of evidence and personal states: `sartor.profile.store.ProfileStore`; records and cards are in `sartor.profile.records`."""
