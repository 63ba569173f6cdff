"""What an operator hears of the store."""

from __future__ import annotations

from routeur import bookkeeping
from routeur.bookkeeping import Bookkeeping
from routeur.spending import Terms
from tests.virtual import until


async def test_trouble_is_told_once_and_so_is_its_end(monkeypatch):
    monkeypatch.setattr(bookkeeping, "KEYS_EVERY", 0.001)
    looks, trouble, said = 0, None, []

    class Ailing(Bookkeeping):
        @property
        def trouble(self):
            nonlocal looks
            looks += 1
            return trouble

    async def looked_often():
        return looks >= 5

    books = Ailing("memory:", None, Terms(), said.append, lambda: None)
    await books.open()
    for why in (None, "the disk is full", "it is locked", None):
        trouble, looks = why, 0
        await until(looked_often)
    await books.close()
    assert said == ["the store does not work: the disk is full", "the store works again"]
