"""The API keys as a worker knows them: a look costs what a dict costs."""

from __future__ import annotations

from gateway.world import KeySet
from state.keys import Keys


class Ring(Keys):
    """A `state.keys.KeyRing` that control keeps up to date."""

    def take(self, keys: KeySet) -> None:
        """Take over what changed. All that a control says which could not read the store adds to what is known: one
        that was started while the store is away must not make the workers forget."""
        if keys.whole and keys.complete:
            self.records = {record.id: record for record in keys.records}
        else:
            self.records.update((record.id, record) for record in keys.records)
            for id in keys.gone:
                self.records.pop(id, None)
        self.known = self.known or keys.complete
