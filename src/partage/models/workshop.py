"""Everything that brings models here, makes them or sends them away: what the API and the commands call."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from dataclasses import replace

from partage.errors import ModelNotFound
from partage.models import names, uploads
from partage.models.alongside import wait_thread
from partage.models.create import Recipe, create
from partage.models.progress import PullProgress
from partage.models.pull import pull
from partage.models.push import push
from partage.models.reach import ANYWHERE, Reach
from partage.models.shelves import Shelves
from partage.models.variants import Variant, variants_of


class Workshop:
    def __init__(self, shelves: Shelves, reach: Reach = ANYWHERE) -> None:
        self.shelves = shelves
        self._reach = reach

    def pull(self, name: str, *, insecure: bool = False) -> AsyncGenerator[PullProgress, None]:
        """Raises what models.pull.pull() raises."""
        return pull(self.shelves.store, name, self._reaching(insecure=insecure))

    async def variants(self, name: str, *, insecure: bool = False) -> list[Variant]:
        """The quantisations in which a model can be had, the largest first. Raises NotFound, PullError."""
        return await variants_of(names.parse(name), self._reaching(insecure=insecure))

    def push(self, name: str, *, insecure: bool = False) -> AsyncGenerator[PullProgress, None]:
        """Raises what models.push.push() raises."""
        return push(self.shelves.store, name, self._reaching(insecure=insecure))

    async def create(self, name: str, recipe: Recipe) -> AsyncGenerator[PullProgress, None]:
        """A base that is not here is pulled first. Raises what pull() and models.create.create() raise."""
        if recipe.base and not self._is_here(recipe.base):
            async with aclosing(self.pull(recipe.base)) as steps:
                async for step in steps:
                    yield step
        async with aclosing(create(self.shelves, name, recipe)) as steps:
            async for step in steps:
                yield step

    async def copy(self, source: str, destination: str) -> None:
        """Give a model another name; one in somebody else's directory is copied. Raises ModelNotFound, StoreError."""
        try:
            await wait_thread(self.shelves.store.link, destination, source)
        except ModelNotFound:
            self.shelves.get(source)
            async with aclosing(create(self.shelves, destination, Recipe(base=source))) as steps:
                async for _ in steps:
                    pass

    def has_blob(self, digest: str) -> bool:
        """Raises InvalidRequest."""
        return uploads.find(self.shelves.store, digest) is not None

    async def receive_blob(self, digest: str, chunks: AsyncIterable[bytes], size_bytes: int | None) -> None:
        """Raises what models.uploads.receive() raises."""
        await uploads.receive(self.shelves.store, digest, chunks, size_bytes)

    def _is_here(self, name: str) -> bool:
        try:
            self.shelves.get(name)
        except ModelNotFound:
            return False
        return True

    def _reaching(self, *, insecure: bool) -> Reach:
        return replace(self._reach, insecure=True) if insecure else self._reach
